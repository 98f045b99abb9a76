import type { Lanes, ShuffleShape } from '../wgsl/shuffle-product.js';
import type { TileShape } from '../wgsl/tile-product.js';
import { largeTile } from '../wgsl/tile-product.js';
import type { VectorShape } from '../wgsl/vector-product.js';

/** How work is cut into workgroups. Results do not depend on it beyond the order of sums. */
export interface Shapes {
  /** Of dense products, f32 and int8. */
  readonly dense: TileShape;
  /** Of prompts with quantized weights. */
  readonly quantized: TileShape;
  /** Of products with few tokens. */
  readonly vector: VectorShape;
  /**
   * Of products with integers in groups, whatever the number of tokens, instead of the two before. Absent: they take those as
   * all other weights do.
   */
  readonly shuffle?: ShuffleShape;
}

export const gpuShapes: Shapes = { dense: largeTile, quantized: largeTile, vector: { invocations: 64, rows: 4 } };

/**
 * For drivers that run shaders on the processor (lavapipe, SwiftShader): few invocations with much work each, since a
 * barrier costs them a switch of every invocation, and no workgroup memory at all where subgroups can do without it. Measured
 * with linears of 4 bits on lavapipe (docs/webgpu.md).
 */
export const processorShapes: Shapes = {
  // Compiled in a second. Twice as many outputs each way cost half as much again, and give nothing.
  dense: { x: 8, y: 8, perColumn: 8, perRow: 8, depth: 16 },
  quantized: { x: 8, y: 4, perColumn: 16, perRow: 16, depth: 16 },
  vector: { invocations: 32, rows: 8 },
  shuffle: { invocations: 8, rows: 8, tokens: 8 },
};

/** Quick to compile: a processor's driver takes seconds for a large kernel, and tests have many. */
export const quickShapes: Shapes = {
  dense: { x: 8, y: 8, perColumn: 4, perRow: 4, depth: 8 },
  quantized: { x: 8, y: 8, perColumn: 4, perRow: 4, depth: 8 },
  vector: { invocations: 32, rows: 4 },
};

/** Whether the device is a processor that stands in for a GPU. */
export function isProcessor(info: GPUAdapterInfo | undefined): boolean {
  if (!info) return false;
  return info.isFallbackAdapter || /swiftshader|llvmpipe|software/i.test(`${info.architecture} ${info.description}`);
}

/** Lanes that every subgroup of the device has at least, as far as kernels have a use for them. */
export function lanesOf(info: GPUAdapterInfo | undefined): Lanes {
  return (info?.subgroupMinSize ?? 4) >= 8 ? 8 : 4;
}
