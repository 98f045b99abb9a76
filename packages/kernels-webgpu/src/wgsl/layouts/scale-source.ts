/** The storage of the scales of floating-point and table layouts, and the index of a weight's scale. */
import type { Binding, KernelSource } from '../module.js';

/** The index of the scale of weight `[row, k]`. */
export type ScaleIndex =
  | { readonly kind: 'tensor' }
  | { readonly kind: 'channel' }
  /** Consecutive k of a row; the last group may be shorter. */
  | { readonly kind: 'group'; readonly size: number }
  /** Consecutive values of the flattened weight, across rows (bitsandbytes). */
  | { readonly kind: 'flat'; readonly size: number }
  | { readonly kind: 'block'; readonly rows: number; readonly columns: number };

/**
 * `f32`: plain values. `e8m0`: bytes, powers of two (OCP MX). `e4m3`: bytes, times the f32 parameter `global` (NVFP4).
 */
export type ScaleStorage = 'f32' | 'e8m0' | 'e4m3';

export interface ScaleSource {
  readonly bindings: readonly Binding[];
  readonly parameters: KernelSource['parameters'];
  /** Defines `fn scale_of(row: u32, k: u32) -> f32`. */
  readonly code: string;
}

function indexExpression(index: ScaleIndex): string {
  switch (index.kind) {
    case 'tensor':
      return '0u';
    case 'channel':
      return 'row';
    case 'group':
      return `row * ((p.k + ${index.size - 1}u) / ${index.size}u) + k / ${index.size}u`;
    case 'flat':
      return `(row * p.k + k) / ${index.size}u`;
    case 'block':
      return `(row / ${index.rows}u) * ((p.k + ${index.columns - 1}u) / ${index.columns}u) + k / ${index.columns}u`;
  }
}

const byteOf = 'let byte = (scales[index / 4u] >> (8u * (index % 4u))) & 255u;';

/**
 * 2^-127, a subnormal of f32, counts as 0. A subnormal of E4M3 would be a subnormal of f32 too, and devices may flush
 * those, so it is computed from its integer.
 */
const decode: Record<ScaleStorage, string> = {
  f32: '  return scales[index];',
  e8m0: `  ${byteOf}
  return bitcast<f32>(byte << 23u);`,
  e4m3: `  ${byteOf}
  let normal = bitcast<f32>((byte << 20u) + (120u << 23u));
  return p.global * select(normal, f32(byte) * 0.001953125, byte < 8u);`,
};

export function scaleSource(storage: ScaleStorage, index: ScaleIndex): ScaleSource {
  return {
    bindings: [{ name: 'scales', access: 'read', type: storage === 'f32' ? 'array<f32>' : 'array<u32>' }],
    parameters: storage === 'e4m3' ? { global: 'f32' } : {},
    code: `fn scale_of(row: u32, k: u32) -> f32 {
  let index = ${indexExpression(index)};
${decode[storage]}
}`,
  };
}
