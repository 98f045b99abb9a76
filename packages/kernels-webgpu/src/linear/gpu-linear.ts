import { ShapeError } from '@q/core';
import { type Dispatch, type Gpu, linearWorkgroups } from '../device/gpu.js';
import { lanesOf } from '../device/shapes.js';
import { ranges, sliceRows } from '../kernels/slices.js';
import { dequantizeInvocations, dequantizeWeights } from '../wgsl/dequantize.js';
import { gatherColumns, gatherInvocations } from '../wgsl/gather-columns.js';
import type { KernelSource } from '../wgsl/module.js';
import { canShuffle, shuffleProduct, shuffleWorkgroups } from '../wgsl/shuffle-product.js';
import { denseOperand, tileProduct, tileWorkgroups } from '../wgsl/tile-product.js';
import { vectorProduct } from '../wgsl/vector-product.js';
import type { GpuWeight } from './gpu-weight.js';

export interface GpuLinearOptions {
  /**
   * Products of tiles in f16 with f32 sums, if the device supports it: twice as fast on most devices, for prompts. A
   * product of four values must stay below 65504. Default false: all products are f32. Products without tiles
   * (`Shapes.shuffle`) are always f32.
   */
  readonly f16?: boolean;
  /**
   * Up to this number of tokens each weight is unpacked for few tokens at a time; more tokens are multiplied in tiles.
   * Default 8.
   */
  readonly decodeTokens?: number;
}

/** `y = x w^T` with a quantized weight that stays on the device. */
export interface GpuLinear {
  readonly weight: GpuWeight;
  /**
   * `x` `[tokens, in]` -> `[tokens, out]`, from host to host. Tokens are split into parts if they do not fit a binding.
   */
  multiply(x: Float32Array, tokens: number): Promise<Float32Array>;
  /**
   * The same on the device, for callers that record their own passes. `x` and `y` are f32. Act-order weights need
   * `scratch` too; the caller frees it after the last use.
   */
  dispatches(x: GPUBuffer, tokens: number, y: GPUBuffer): Promise<{ dispatches: Dispatch[]; scratch?: GPUBuffer }>;
  /** The dequantized weights, `[out, in]`, with inputs in their original order. */
  dequantize(): Promise<Float32Array>;
  /** Frees the weight too. */
  dispose(): void;
}

/** Tokens that share an unpacked weight in the decode kernel. */
const tokensTogether = 4;

export function createGpuLinear(gpu: Gpu, weight: GpuWeight, options: GpuLinearOptions = {}): GpuLinear {
  const { inFeatures: k, outFeatures: n, layout, parameters, parts, name } = weight;
  const { f16 = false, decodeTokens = 8 } = options;
  const tile = gpu.shapes.quantized;
  const prefill = tileProduct({
    label: `${name}: prefill`,
    a: denseOperand('a', 'm', { transposed: false, vector: true }),
    b: layout,
    tile,
    f16: f16 && gpu.capabilities.f16,
  });
  const decode = (tokens: number) =>
    vectorProduct({
      label: `${name}: decode`,
      b: layout,
      tokens,
      shape: gpu.shapes.vector,
      subgroups: gpu.capabilities.subgroups,
    });

  const lanes = lanesOf(gpu.device.adapterInfo);
  const shuffle = gpu.capabilities.subgroups && canShuffle(layout, lanes) ? gpu.shapes.shuffle : undefined;

  /** The kernel for this number of tokens, and its workgroups for this number of rows of the weight. */
  const kernelFor = (tokens: number, rows: number): [KernelSource, [number, number]] => {
    if (shuffle) {
      // Numbers of tokens are powers of two, so few kernels serve all prompts.
      const together = Math.min(2 ** Math.ceil(Math.log2(tokens)), shuffle.tokens);
      const label = `${name}: ${together} tokens`;
      const source = shuffleProduct({ label, b: layout, tokens: together, shape: shuffle, lanes });
      return [source, shuffleWorkgroups(tokens, rows, together, shuffle)];
    }
    if (tokens > decodeTokens) return [prefill, tileWorkgroups(tokens, rows, tile)];
    const together = Math.min(tokens, tokensTogether);
    return [decode(together), [Math.ceil(rows / gpu.shapes.vector.rows), Math.ceil(tokens / together)]];
  };

  const dispatches: GpuLinear['dispatches'] = async (x, tokens, y) => {
    const list: Dispatch[] = [];
    let input = x;
    let scratch: GPUBuffer | undefined;
    if (weight.order) {
      scratch = gpu.buffers.create(4 * tokens * k, `${name}: ordered inputs`);
      input = scratch;
      const groups = linearWorkgroups(gpu, tokens * k, gatherInvocations);
      list.push(await gpu.prepare(gatherColumns(), { m: tokens, k }, [x, weight.order, scratch], groups));
    }
    for (const { start, size, storage } of parts) {
      const values = { m: tokens, n: size, k, stride: n, column0: start, ...parameters };
      const buffers = [input, ...storage, y];
      const [source, groups] = kernelFor(tokens, size);
      list.push(await gpu.prepare(source, values, buffers, groups));
    }
    return { dispatches: list, scratch };
  };

  /** Buffers and kernels of a product of this number of tokens. */
  async function stateFor(tokens: number) {
    const input = gpu.buffers.create(4 * tokens * k, `${name}: inputs`);
    const output = gpu.buffers.create(4 * tokens * n, `${name}: outputs`);
    try {
      const { dispatches: list, scratch } = await dispatches(input, tokens, output);
      return { input, output, list, free: () => gpu.buffers.free(input, output, scratch) };
    } catch (error) {
      gpu.buffers.free(input, output);
      throw error;
    }
  }

  // Decoding repeats one shape, so its buffers and bindings are kept, one set for each number of tokens.
  const decoding = new Map<number, ReturnType<typeof stateFor>>();
  const kept: (() => void)[] = [];
  const decodeState = (tokens: number) => {
    gpu.check();
    let state = decoding.get(tokens);
    if (!state) {
      state = stateFor(tokens).then((made) => {
        kept.push(made.free);
        return made;
      });
      decoding.set(tokens, state);
      state.catch(() => decoding.delete(tokens));
    }
    return state;
  };

  return {
    weight,
    dispatches,
    dispose() {
      for (const free of kept.splice(0)) free();
      decoding.clear();
      weight.dispose();
    },
    async multiply(x, tokens) {
      if (x.length !== tokens * k) throw new ShapeError(`${name}: ${x.length} values are not ${tokens} tokens of ${k}`);
      const out = new Float32Array(tokens * n);
      if (tokens > 0 && tokens <= decodeTokens) {
        // From here to the submission nothing is awaited, so calls may overlap, and the queue keeps their order.
        const { input, output, list } = await decodeState(tokens);
        gpu.device.queue.writeBuffer(input, 0, x as Float32Array<ArrayBuffer>);
        await gpu.run(list, { from: output, into: out });
        return out;
      }
      for (const range of ranges(tokens, gpu.buffers.largest / 4 / Math.max(k, n))) {
        const made = await stateFor(range.size);
        try {
          gpu.device.queue.writeBuffer(made.input, 0, sliceRows(x, k, range) as Float32Array<ArrayBuffer>);
          await gpu.run(made.list, { from: made.output, into: sliceRows(out, n, range) });
        } finally {
          made.free();
        }
      }
      return out;
    },
    async dequantize() {
      const out = new Float32Array(n * k);
      const kernel = dequantizeWeights(name, layout);
      for (const { start, size, storage } of parts) {
        // A part fits a binding in packed form; as f32 it needs several bindings.
        for (const rows of ranges(size, gpu.buffers.largest / 4 / k)) {
          const values = gpu.buffers.create(4 * rows.size * k, `${name}: dequantized`);
          try {
            const groups = linearWorkgroups(gpu, (rows.size * k) / 8, dequantizeInvocations);
            const range = { n: rows.size, k, row0: rows.start, ...parameters };
            const into = out.subarray((start + rows.start) * k, (start + rows.start + rows.size) * k);
            await gpu.run([await gpu.prepare(kernel, range, [...storage, values], groups)], { from: values, into });
          } finally {
            gpu.buffers.free(values);
          }
        }
      }
      return weight.order ? restoreOrder(out, await gpu.read(weight.order, new Uint32Array(k)), n) : out;
    },
  };
}

/** Moves value j of each row to the position of input `order[j]`. */
function restoreOrder(values: Float32Array, order: Uint32Array, rows: number): Float32Array {
  const k = order.length;
  const out = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    for (let j = 0; j < k; j++) out[row * k + order[j]] = values[row * k + j];
  }
  return out;
}
