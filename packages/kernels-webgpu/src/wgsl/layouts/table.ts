/** Four-bit indices into a table of 16 values (NF4, FP4, E2M1), two a byte along k, times a scale. */
import type { Operand } from '../tile-product.js';
import { type ScaleIndex, type ScaleStorage, scaleSource } from './scale-source.js';

export interface TableLayout {
  /** The nibble of a byte that is first: `high` in bitsandbytes, `low` in all other layouts. */
  readonly first: 'low' | 'high';
  readonly scales: ScaleStorage;
  readonly index: ScaleIndex;
}

export function tableLayout({ first, scales, index }: TableLayout): Operand {
  const source = scaleSource(scales, index);
  const shift = (j: number) => 4 * (first === 'low' ? j : j ^ 1);
  const entry = (j: number) => `table[(word >> ${shift(j)}u) & 15u]`;
  return {
    eight: true,
    parameters: source.parameters,
    bindings: [
      { name: 'codes', access: 'read', type: 'array<u32>' },
      { name: 'table', access: 'read', type: 'array<f32>' },
      ...source.bindings,
    ],
    code: `${source.code}

fn load_b(row: u32, k: u32) -> Eight {
  let word = codes[(row * p.k + k) / 8u];
  let low = vec4f(${[0, 1, 2, 3].map(entry).join(', ')});
  let high = vec4f(${[4, 5, 6, 7].map(entry).join(', ')});
  return Eight(low, high, scale_of(row, k));
}`,
  };
}
