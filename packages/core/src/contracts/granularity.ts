/**
 * Which values of a matrix `[rows, columns]` share one scale. A tensor of any rank is read as a matrix: the last
 * dimension is the columns, all others together are the rows; a scalar is `[1, 1]`.
 *
 * - `tensor`: one scale.
 * - `channel`: one scale a row (an output channel of a weight).
 * - `token`: the same split, for activations `[tokens, features]`.
 * - `group`: `size` consecutive columns of a row. The last group of a row may be shorter (ragged).
 * - `block`: `rows x columns` tiles, ragged at both edges.
 * - `flat`: `size` consecutive elements of the flattened tensor, crossing rows (bitsandbytes).
 */
export type Granularity =
  | { readonly kind: 'tensor' }
  | { readonly kind: 'channel' }
  | { readonly kind: 'token' }
  | { readonly kind: 'group'; readonly size: number }
  | { readonly kind: 'block'; readonly rows: number; readonly columns: number }
  | { readonly kind: 'flat'; readonly size: number };
