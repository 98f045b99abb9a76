import type { Windows } from '@q/calib';

/** The distinct tokens of windows: the rows that the windows look up in a table of all tokens. */
export interface WindowTokens {
  /** Rising: row `i` of a table of these tokens alone is that of `ids[i]`. */
  readonly ids: Int32Array;
  /** Ids of the windows -> their rows in such a table. */
  rowsOf(ids: Int32Array): Int32Array;
}

/** Finds the tokens of windows. Its `rowsOf` takes ids of these windows alone. */
export function windowTokens({ ids }: Pick<Windows, 'ids'>): WindowTokens {
  const distinct = Int32Array.from(new Set(ids)).sort();
  const rows = new Map(Array.from(distinct, (id, row) => [id, row]));
  return { ids: distinct, rowsOf: (some) => some.map((id) => rows.get(id) as number) };
}
