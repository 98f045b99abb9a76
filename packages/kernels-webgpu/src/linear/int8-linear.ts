import { type Int8Weight, NumericError, ShapeError } from '@q/core';
import { type Dispatch, type Gpu, linearWorkgroups } from '../device/gpu.js';
import { paddedRows } from '../kernels/matmul-int8.js';
import { ranges, sliceRows } from '../kernels/slices.js';
import { int8Product } from '../wgsl/int8-product.js';
import { addOutliers, listOutliers, markOutliers, outlierInvocations } from '../wgsl/outlier-columns.js';
import { quantizeRows } from '../wgsl/quantize-rows.js';
import { tileWorkgroups } from '../wgsl/tile-product.js';

export interface Int8LinearOptions {
  /** LLM.int8(): input columns with a value of at least this magnitude stay in f32. The paper uses 6. Absent: W8A8. */
  readonly outlierThreshold?: number;
}

/**
 * `y = x w^T` in integers. Inputs are rounded per token on the device, sums are exact, and both scales are applied at
 * the end.
 */
export interface GpuInt8Linear {
  readonly outFeatures: number;
  readonly inFeatures: number;
  /**
   * `x` `[tokens, in]` -> `[tokens, out]`. Outlier columns are found over the whole call if it fits a binding (128 MiB
   * of inputs or outputs), else over each part.
   * @throws NumericError when an input is NaN or infinite
   */
  multiply(x: Float32Array, tokens: number): Promise<Float32Array>;
  dispose(): void;
}

export function createInt8Linear(gpu: Gpu, weight: Int8Weight, options: Int8LinearOptions = {}): GpuInt8Linear {
  const { outFeatures: n, inFeatures: k, codes, scales } = weight;
  const { outlierThreshold: threshold } = options;
  if (codes.length !== n * k) throw new ShapeError(`int8 weight: ${codes.length} codes are not [${n}, ${k}]`);
  const { buffers } = gpu;
  const words = Math.ceil(k / 4);
  const weights = buffers.upload(paddedRows(codes, k, { start: 0, size: n }), 'int8 weight');
  const perOutput = scales.length === 1 ? new Float32Array(n).fill(scales[0]) : scales;
  const weightScales = buffers.upload(perOutput, 'int8 weight scales');
  const multiply = int8Product({ packedDot: gpu.capabilities.packedDot, output: 'f32', tile: gpu.shapes.dense });

  async function part(x: Float32Array, m: number, out: Float32Array): Promise<void> {
    const input = buffers.upload(x, 'int8 inputs');
    const bytes = buffers.create(4 * m * words, 'int8 input codes');
    const inputScales = buffers.create(4 * m, 'int8 input scales');
    const output = buffers.create(4 * m * n, 'int8 outputs');
    const marks = threshold === undefined ? undefined : buffers.create(4 * k, 'outlier marks');
    const list = threshold === undefined ? undefined : buffers.create(4 * (k + 1), 'outlier columns');
    try {
      const dispatches: Dispatch[] = [];
      const then = async (...kernel: Parameters<Gpu['prepare']>) => dispatches.push(await gpu.prepare(...kernel));
      if (marks && list && threshold !== undefined) {
        await then(markOutliers(), { m, k, threshold }, [input, marks], linearWorkgroups(gpu, k, outlierInvocations));
        await then(listOutliers(), { k }, [marks, list], [1]);
      }
      const from = marks ? [input, marks] : [input];
      await then(quantizeRows({ outliers: !!marks }), { m, k, words }, [...from, bytes, inputScales], [m]);
      const operands = [bytes, weights, inputScales, weightScales, output];
      await then(multiply, { m, n, words }, operands, tileWorkgroups(m, n, gpu.shapes.dense));
      if (list) {
        const groups = linearWorkgroups(gpu, m * n, outlierInvocations);
        await then(addOutliers(), { m, n, k, words }, [input, list, weights, weightScales, output], groups);
      }
      await gpu.run(dispatches, { from: output, into: out });
    } finally {
      buffers.free(input, bytes, inputScales, output, marks, list);
    }
  }

  return {
    outFeatures: n,
    inFeatures: k,
    async multiply(x, tokens) {
      if (x.length !== tokens * k)
        throw new ShapeError(`int8 linear: ${x.length} values are not ${tokens} tokens of ${k}`);
      const bad = x.findIndex((value) => !Number.isFinite(value));
      if (bad >= 0)
        throw new NumericError(`the input holds ${x[bad]} at element ${bad}: the model overflowed before this linear`);
      const out = new Float32Array(tokens * n);
      // Each token has a workgroup, and a dimension has a limited number of workgroups.
      const most = Math.min(buffers.largest / 4 / Math.max(k, n), gpu.device.limits.maxComputeWorkgroupsPerDimension);
      for (const range of ranges(tokens, most))
        await part(sliceRows(x, k, range), range.size, sliceRows(out, n, range));
      return out;
    },
    dispose: () => buffers.free(weights, weightScales),
  };
}
