import type { Lanes, ShuffleShape } from '../wgsl/shuffle-product.js';
import type { TileShape } from '../wgsl/tile-product.js';
import { largeTile } from '../wgsl/tile-product.js';
import type { VectorShape } from '../wgsl/vector-product.js';

/** The division of work into workgroups. Results depend on it only by the order of sums. */
export interface Shapes {
  /** Tiles of dense products, f32 and int8. */
  readonly dense: TileShape;
  /** Tiles of prompts with quantized weights. */
  readonly quantized: TileShape;
  /** Shape of products with few tokens. */
  readonly vector: VectorShape;
  /**
   * Shape of products with integers in groups, for any number of tokens; it replaces the two shapes before it. Absent:
   * these products use the same shapes as all other weights.
   */
  readonly shuffle?: ShuffleShape;
}

export const gpuShapes: Shapes = { dense: largeTile, quantized: largeTile, vector: { invocations: 64, rows: 4 } };

/**
 * Shapes for drivers that run shaders on the processor (lavapipe, SwiftShader): few invocations with much work each,
 * because a barrier costs a switch of every invocation; and no workgroup memory if subgroups can replace it. Measured
 * with linears of 4 bits on lavapipe (docs/webgpu.md).
 */
export const processorShapes: Shapes = {
  // It is compiled in a second. With twice as many outputs in each direction, compilation takes half as long again, and
  // the product is not faster.
  dense: { x: 8, y: 8, perColumn: 8, perRow: 8, depth: 16 },
  quantized: { x: 8, y: 4, perColumn: 16, perRow: 16, depth: 16 },
  vector: { invocations: 32, rows: 8 },
  shuffle: { invocations: 8, rows: 8, tokens: 8 },
};

/** Shapes that compile fast. A processor's driver takes seconds for a large kernel, and tests have many kernels. */
export const quickShapes: Shapes = {
  dense: { x: 8, y: 8, perColumn: 4, perRow: 4, depth: 8 },
  quantized: { x: 8, y: 8, perColumn: 4, perRow: 4, depth: 8 },
  vector: { invocations: 32, rows: 4 },
};

/** Whether the device is a processor that emulates a GPU. */
export function isProcessor(info: GPUAdapterInfo | undefined): boolean {
  if (!info) return false;
  return info.isFallbackAdapter || /swiftshader|llvmpipe|software/i.test(`${info.architecture} ${info.description}`);
}

/**
 * The number of lanes that every subgroup of the device has at least, limited to the numbers for which kernels exist.
 */
export function lanesOf(info: GPUAdapterInfo | undefined): Lanes {
  return (info?.subgroupMinSize ?? 4) >= 8 ? 8 : 4;
}
