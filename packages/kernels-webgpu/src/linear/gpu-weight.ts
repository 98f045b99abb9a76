import { KernelError, ShapeError } from '@q/core';
import type { Gpu } from '../device/gpu.js';
import type { Range } from '../kernels/slices.js';
import { ranges } from '../kernels/slices.js';
import type { Operand } from '../wgsl/tile-product.js';

/** Rows of a weight whose arrays fit into bindings. */
export interface WeightPart extends Range {
  /** Buffers in the order of the layout's bindings. */
  readonly storage: readonly GPUBuffer[];
}

/** A quantized weight `[out, in]` on the device. */
export interface GpuWeight {
  /** Name for labels and errors: `gptq 4-bit g128`. */
  readonly name: string;
  readonly outFeatures: number;
  readonly inFeatures: number;
  readonly layout: Operand;
  /** Values of the layout's own parameters. */
  readonly parameters: Readonly<Record<string, number>>;
  readonly parts: readonly WeightPart[];
  /** Input of each position of a row, if weights are in another order than inputs (act-order). */
  readonly order?: GPUBuffer;
  /** Bytes on the device. */
  readonly bytes: number;
  dispose(): void;
}

export interface WeightPlan {
  readonly name: string;
  readonly outFeatures: number;
  readonly inFeatures: number;
  readonly layout: Operand;
  readonly parameters?: Readonly<Record<string, number>>;
  /** Bytes of a row in the largest of its arrays. */
  readonly rowBytes: number;
  /** Parts begin at multiples of this number of rows. Default 1. */
  readonly rowMultiple?: number;
  readonly order?: Uint32Array;
  /** Makes the arrays of some rows. It frees its temporary buffers itself. */
  upload(rows: Range): Promise<readonly GPUBuffer[]>;
}

/**
 * Uploads a weight to the device, in parts of rows if it does not fit one binding.
 * @throws ShapeError when the width is not a multiple of 8, the step of all kernels
 */
export async function uploadWeight(gpu: Gpu, plan: WeightPlan): Promise<GpuWeight> {
  const { name, outFeatures, inFeatures, layout, parameters = {}, rowBytes, rowMultiple = 1, order } = plan;
  if (inFeatures % 8 !== 0 || inFeatures < 8 || outFeatures < 1) {
    throw new ShapeError(
      `${name}: a weight of [${outFeatures}, ${inFeatures}] does not fit: the number of inputs must be a multiple of 8`,
    );
  }
  const before = gpu.buffers.bytes;
  const fitting = Math.floor(gpu.buffers.largest / rowBytes / rowMultiple) * rowMultiple;
  if (fitting < 1) {
    throw new KernelError(
      `${name}: ${rowMultiple} rows of ${rowBytes} bytes do not fit a binding of ${gpu.buffers.largest}: request the device with a larger maxStorageBufferBindingSize`,
    );
  }
  const parts: WeightPart[] = [];
  const free = () => {
    for (const { storage } of parts) gpu.buffers.free(...storage);
  };
  try {
    for (const rows of ranges(outFeatures, fitting)) parts.push({ ...rows, storage: await plan.upload(rows) });
  } catch (error) {
    free();
    throw error;
  }
  const orderBuffer = order ? gpu.buffers.upload(order, `${name}: order`) : undefined;
  const bytes = gpu.buffers.bytes - before;
  return {
    name,
    outFeatures,
    inFeatures,
    layout,
    parameters,
    parts,
    order: orderBuffer,
    bytes,
    dispose() {
      free();
      gpu.buffers.free(orderBuffer);
    },
  };
}

/** @throws ShapeError naming the array, its length and the length that its shape needs */
export function needLength(name: string, what: string, found: ArrayLike<unknown>, needed: number): void {
  if (found.length !== needed)
    throw new ShapeError(`${name}: ${what} has ${found.length} values, ${needed} are needed`);
}
