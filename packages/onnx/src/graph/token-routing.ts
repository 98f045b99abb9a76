import type { TokenRouting } from '@q/core';
import { type Graph, int } from './graph.js';
import type { GraphValue, Size } from './graph-value.js';

/**
 * Experts in ONNX's own operators: TopK chooses, NonZero finds the tokens of each expert, and each expert computes only
 * these. All `experts.E` exist, with zero rows for experts without a token.
 */
export function createTokenRouting(graph: Graph): TokenRouting<GraphValue> {
  const i64 = (op: string, inputs: readonly GraphValue[], sizes: readonly Size[], attributes = {}) =>
    graph.node(op, inputs, { type: 'i64', sizes }, { attributes });
  return {
    route(x, logits, count, normalize) {
      const [tokens, experts] = logits.sizes as [Size, number];
      const width = x.sizes[1]!;
      const chosen = [tokens, count] as const;
      const best = [
        { type: 'f32' as const, sizes: chosen },
        { type: 'i64' as const, sizes: chosen },
      ];
      const attributes = { axis: int(-1), largest: int(1), sorted: int(1) };
      const [values, indices] = graph.nodeOf('TopK', [logits, graph.integers([count])], best, { attributes }) as [
        GraphValue,
        GraphValue,
      ];
      const softmax = (of: GraphValue) => graph.node('Softmax', [of], of, { attributes: { axis: int(-1) } });
      const weights = normalize
        ? softmax(values)
        : graph.node('GatherElements', [softmax(logits), indices], values, { attributes: { axis: int(1) } });
      const parts: Record<string, GraphValue> = {};
      for (let expert = 0; expert < experts; expert++) {
        const mine = graph.node('Equal', [indices, graph.integers(expert)], { type: 'bool', sizes: chosen });
        // `[2, rows]`: tokens, and the index of this expert among the token's experts.
        const places = i64('NonZero', [mine], [2, 'rows']);
        const part = `expert.${expert}`;
        const ids = i64('Gather', [places, graph.integers(0)], ['rows'], { axis: int(0) });
        const pairs = i64('Transpose', [places], ['rows', 2], { perm: int([1, 0]) });
        const own = graph.node('GatherND', [weights, pairs], { type: 'f32', sizes: ['rows'] });
        const sizes = ['rows' as const, width];
        parts[part] = graph.node('Gather', [x, ids], { type: x.type, sizes }, { attributes: { axis: int(0) } });
        parts[`${part}.tokens`] = i64('Unsqueeze', [ids, graph.integers([-1])], ['rows', 1]);
        parts[`${part}.weights`] = graph.node('Unsqueeze', [own, graph.integers([-1])], {
          ...{ type: 'f32', sizes: ['rows', 1] },
        });
      }
      return parts;
    },
    addRows(sum, rows, tokens) {
      const width = sum.sizes.at(-1) as number;
      const flat = { type: sum.type, sizes: ['tokens' as const, width] };
      const before = graph.node('Reshape', [sum, graph.integers([-1, width])], flat);
      const added = graph.node('ScatterND', [before, tokens, graph.cast(rows, sum.type)], flat, {
        attributes: { reduction: 'add' },
      });
      return graph.node('Reshape', [added, graph.sizesOf(sum, 0, 3)], sum);
    },
  };
}
