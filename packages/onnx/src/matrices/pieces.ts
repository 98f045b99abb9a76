import { int } from '../graph/graph.js';
import type { GraphValue } from '../graph/graph-value.js';
import type { MatrixTarget } from './matrix.js';

/** Rows `start..end` of a matrix that is stored as several tensors. */
export interface Piece {
  readonly start: number;
  readonly end: number;
  /** The suffix of its name; empty for a single piece. */
  readonly suffix: string;
}

/** Splits rows into equal pieces of at most `limit` bytes. */
export function cutRows(rows: number, bytesOfRow: number, limit: number): Piece[] {
  const count = Math.min(rows, Math.max(1, Math.ceil((rows * bytesOfRow) / limit)));
  const size = Math.ceil(rows / count);
  return Array.from({ length: Math.ceil(rows / size) }, (_, index) => ({
    start: index * size,
    end: Math.min(rows, (index + 1) * size),
    suffix: count === 1 ? '' : `_part${index}`,
  }));
}

/** Concatenates the products of the pieces. */
export function joinProducts({ graph }: MatrixTarget, parts: readonly GraphValue[], rows: number): GraphValue {
  const first = parts[0]!;
  if (parts.length === 1) return first;
  const sizes = [...first.sizes.slice(0, -1), rows];
  return graph.node('Concat', parts, { type: first.type, sizes }, { attributes: { axis: int(-1) } });
}

/** Looks ids up in the pieces: each piece gives a row for every id, and only the right one is used. */
export function lookUpPieces(
  { graph }: MatrixTarget,
  pieces: readonly Piece[],
  ids: GraphValue,
  lookUp: (piece: Piece, ids: GraphValue) => GraphValue,
): GraphValue {
  const like = { type: ids.type, sizes: ids.sizes };
  let found: GraphValue | undefined;
  for (const piece of pieces) {
    if (pieces.length === 1) return lookUp(piece, ids);
    const shifted = graph.node('Sub', [ids, graph.integers(piece.start)], like);
    const inside = [graph.integers(0), graph.integers(piece.end - piece.start - 1)];
    const own = lookUp(piece, graph.node('Clip', [shifted, ...inside], like));
    if (!found) {
      found = own;
      continue;
    }
    const here = graph.node('GreaterOrEqual', [ids, graph.integers(piece.start)], { type: 'bool', sizes: ids.sizes });
    const each = graph.node('Unsqueeze', [here, graph.integers([-1])], { type: 'bool', sizes: [...ids.sizes, 1] });
    found = graph.node('Where', [each, own, found], own);
  }
  return found!;
}
