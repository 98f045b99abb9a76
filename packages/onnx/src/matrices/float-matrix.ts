import { floatBytes, type Graph, int } from '../graph/graph.js';
import type { GraphValue } from '../graph/graph-value.js';
import { refuseF16Values } from '../graph/refuse-f16.js';
import { elementTypes } from '../proto/element-type.js';
import type { MatrixForm } from './matrix.js';
import { cutRows, joinProducts, lookUpPieces, type Piece } from './pieces.js';

/** Matrices in floats of the graph's type. */
export const floatMatrix: MatrixForm = {
  name: 'floats',
  add(target, source, use) {
    const { graph, type, tensorBytes } = target;
    const { rows, columns, name } = source;
    const pieces = cutRows(rows, columns * elementTypes[type].bytes, tensorBytes);
    const store = ({ start, end, suffix }: Piece, turned: boolean) =>
      graph.store({
        tensors: [
          {
            name: turned ? `${name}_transposed${suffix}` : `${name}${suffix}`,
            type,
            dims: turned ? [columns, end - start] : [end - start, columns],
          },
        ],
        async make() {
          const { data } = await source.floats();
          const own = data.subarray(start * columns, end * columns);
          if (type === 'f16') refuseF16Values(name, data, true);
          return [floatBytes(type, turned ? transposeValues(own, end - start, columns) : own)];
        },
      })[0]!;
    return {
      product(x, bias) {
        const parts = pieces.map((piece) => {
          const sizes = [...x.sizes.slice(0, -1), piece.end - piece.start];
          // A table whose rows are also looked up is stored once: Gemm reads it as it is.
          if (use.rows) return multiplyRows(graph, x, store(piece, false), sizes);
          return graph.node('MatMul', [x, store(piece, true)], { type, sizes });
        });
        const joined = joinProducts(target, parts, rows);
        return bias ? graph.node('Add', [joined, bias], joined) : joined;
      },
      lookUp(ids) {
        const found = lookUpPieces(target, pieces, ids, (piece, own) =>
          graph.node('Gather', [store(piece, false), own], { type, sizes: [...ids.sizes, columns] }),
        );
        return graph.cast(found, 'f32');
      },
    };
  },
};

/**
 * `x` `[..., in]` times the rows of `matrix` `[out, in]`: Gemm needs matrices, so the outer axes are merged into one.
 */
function multiplyRows(graph: Graph, x: GraphValue, matrix: GraphValue, sizes: GraphValue['sizes']): GraphValue {
  const { type } = x;
  const [width, features] = [sizes.at(-1)!, x.sizes.at(-1) as number];
  const flat = graph.node('Reshape', [x, graph.integers([-1, features])], { type, sizes: ['tokens', features] });
  const product = graph.node(
    'Gemm',
    [flat, matrix],
    { type, sizes: ['tokens', width] },
    { attributes: { transB: int(1) } },
  );
  const outer = graph.sizesOf(x, 0, x.sizes.length - 1);
  const shape = graph.node(
    'Concat',
    [outer, graph.integers([width as number])],
    { type: 'i64', sizes: [sizes.length] },
    { attributes: { axis: int(0) } },
  );
  return graph.node('Reshape', [product, shape], { type, sizes });
}

/** `[rows, columns]` -> `[columns, rows]`, in tiles that fit the cache. */
export function transposeValues(values: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(values.length);
  const tile = 32;
  for (let top = 0; top < rows; top += tile)
    for (let left = 0; left < columns; left += tile)
      for (let i = top; i < Math.min(top + tile, rows); i++)
        for (let j = left; j < Math.min(left + tile, columns); j++) out[j * rows + i] = values[i * columns + j]!;
  return out;
}
