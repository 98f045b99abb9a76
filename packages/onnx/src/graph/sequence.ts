import type { ElementType } from '../proto/element-type.js';
import { type Graph, int } from './graph.js';
import type { GraphValue } from './graph-value.js';

/** What a pass of a decoder knows of its tokens: the inputs of the graph, and what is derived from them, each once. */
export interface Sequence {
  /** Token ids `[batch, length]`. */
  readonly ids: GraphValue;
  /** 1 for tokens that are seen, 0 for padding `[batch, past + length]`. */
  readonly mask: GraphValue;
  /** Position of each token among those of its row that are seen, padding 0 `[batch, length]`. */
  positions(): GraphValue;
  /** Places of the tokens in the cache `[length]`: the first one is behind what the cache holds. */
  places(): GraphValue;
  /** Added to attention scores `[batch, 1, length, past + length]`: 0, and very negative on padding. */
  paddingBias(type: 'f32' | 'f16'): GraphValue;
  /** The same, also very negative on later tokens and on those before a window. */
  causalBias(type: 'f32' | 'f16', window: number | undefined): GraphValue;
  /** Length of the mask minus 1 for each row `[batch]`, and the length itself: two inputs of GroupQueryAttention. */
  lastPlace(): GraphValue;
  totalLength(): GraphValue;
}

/** exp of it is 0 in f32, and it is a number of f16. */
const hidden = -30000;

export function createSequence(graph: Graph): Sequence {
  const ids = graph.input('input_ids', 'i64', ['batch_size', 'sequence_length']);
  const mask = graph.input('attention_mask', 'i64', ['batch_size', 'total_sequence_length']);
  const made = new Map<string, GraphValue>();
  const once = (key: string, make: () => GraphValue): GraphValue => {
    const found = made.get(key) ?? make();
    made.set(key, found);
    return found;
  };
  const length = () => graph.sizesOf(ids, 1, 2);
  const total = () => graph.sizesOf(mask, 1, 2);
  const scalar = (value: GraphValue) =>
    once(`scalar ${value.name}`, () => graph.node('Squeeze', [value], { type: value.type, sizes: [] }));
  const range = (from: GraphValue, to: GraphValue, size: GraphValue['sizes'][number]) =>
    graph.node('Range', [from, to, graph.integers(1)], { type: 'i64', sizes: [size] });
  const past = () => once('past', () => graph.node('Sub', [total(), length()], { type: 'i64', sizes: [1] }));
  const unsqueeze = (value: GraphValue, axes: readonly number[], sizes: GraphValue['sizes']) =>
    graph.node('Unsqueeze', [value, graph.integers(axes)], { type: value.type, sizes });
  /** `[batch, 1, 1, total]`, true where a token may be seen. */
  const seen = () =>
    once('seen', () => unsqueeze(graph.cast(mask, 'bool'), [1, 2], ['batch_size', 1, 1, 'total_sequence_length']));
  const bias = (type: 'f32' | 'f16', visible: GraphValue) =>
    graph.node('Where', [visible, graph.number(0, type), graph.number(hidden, type)], { type, sizes: visible.sizes });
  const places = () => once('places', () => range(scalar(past()), scalar(total()), 'sequence_length'));
  return {
    ...{ ids, mask, places },
    positions: () =>
      once('positions', () => {
        const counted = graph.node('CumSum', [mask, graph.integers(1)], { type: 'i64', sizes: mask.sizes });
        const before = graph.node('Sub', [counted, graph.integers(1)], { type: 'i64', sizes: mask.sizes });
        const atLeast = graph.node('Max', [before, graph.integers(0)], { type: 'i64', sizes: mask.sizes });
        const end = graph.integers([2 ** 31 - 1]);
        return graph.node('Slice', [atLeast, past(), end, graph.integers([1])], { type: 'i64', sizes: ids.sizes });
      }),
    paddingBias: (type) =>
      once(`padding ${type}`, () => {
        const rows = [graph.sizesOf(ids, 0, 1), graph.integers([1]), length(), total()];
        const shape = graph.node('Concat', rows, { type: 'i64', sizes: [4] }, { attributes: { axis: int(0) } });
        const sizes = ['batch_size', 1, 'sequence_length', 'total_sequence_length'] as const;
        return graph.node('Expand', [bias(type, seen()), shape], { type, sizes });
      }),
    causalBias: (type, window) =>
      once(`causal ${type} ${window}`, () => {
        const sizes = ['sequence_length', 'total_sequence_length'] as const;
        const queries = unsqueeze(places(), [1], ['sequence_length', 1]);
        const keys = once('keys', () => range(graph.integers(0), scalar(total()), 'total_sequence_length'));
        let visible = graph.node('LessOrEqual', [keys, queries], { type: 'bool', sizes });
        if (window !== undefined) {
          const distance = graph.node('Sub', [queries, keys], { type: 'i64', sizes });
          const near = graph.node('Less', [distance, graph.integers(window)], { type: 'bool', sizes });
          visible = graph.node('And', [visible, near], { type: 'bool', sizes });
        }
        const all = ['batch_size', 1, ...sizes] as const;
        return bias(type, graph.node('And', [visible, seen()], { type: 'bool', sizes: all }));
      }),
    lastPlace: () =>
      once('last place', () => {
        const before = graph.node('Sub', [total(), graph.integers([1])], { type: 'i64', sizes: [1] });
        const last = graph.cast(before, 'i32');
        return graph.node('Expand', [last, graph.sizesOf(ids, 0, 1)], { type: 'i32', sizes: ['batch_size'] });
      }),
    totalLength: () => scalar(graph.cast(total(), 'i32')),
  };
}

export type FloatType = Extract<ElementType, 'f32' | 'f16'>;
