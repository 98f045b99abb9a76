import type { ElementType } from '../proto/element-type.js';
import { type Graph, int } from './graph.js';
import type { GraphValue, Size } from './graph-value.js';

/** The data of a pass about its tokens: the inputs of the graph, and values derived from them, each once. */
export interface Sequence {
  /** Token ids `[batch, length]`. */
  readonly ids: GraphValue;
  /** 1 for visible tokens, 0 for padding `[batch, keys]`; keys are those of the cache and the tokens. */
  readonly mask: GraphValue;
  /** Segment of each token `[batch, length]`, a separate input. */
  segments(): GraphValue;
  /** Position of each token `[batch, length]`, or `[1, length]` if all rows have the same. */
  positions(): GraphValue;
  /** Indices of the tokens `[length]`: with a cache they begin after its content. */
  places(): GraphValue;
  /** Distance from each token to each key `[length, keys]`, positive for keys before it. */
  distances(): GraphValue;
  /** Added to attention scores `[batch, 1, length, keys]`: 0, and very negative for padding. */
  paddingBias(type: FloatType): GraphValue;
  /**
   * Very negative for padding and for keys that a token does not see: later ones if `causal`, and those at a distance
   * of `window` or more. Its axes are 1 if possible.
   */
  scoreBias(type: FloatType, causal: boolean, window: number | undefined): GraphValue;
  /** The last index `[batch]` and the number of keys: two inputs of GroupQueryAttention. */
  lastPlace(): GraphValue;
  totalLength(): GraphValue;
}

export type FloatType = Extract<ElementType, 'f32' | 'f16'>;

/** Its exp is 0 in f32, and f16 can represent it. */
const hidden = -30000;

/** @param cached whether the keys begin with those of a cache */
export function createSequence(graph: Graph, cached: boolean): Sequence {
  const keySize: Size = cached ? 'total_sequence_length' : 'sequence_length';
  const ids = graph.input('input_ids', 'i64', ['batch_size', 'sequence_length']);
  const mask = graph.input('attention_mask', 'i64', ['batch_size', keySize]);
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
  const range = (from: GraphValue, to: GraphValue, size: Size) =>
    graph.node('Range', [from, to, graph.integers(1)], { type: 'i64', sizes: [size] });
  const past = () => once('past', () => graph.node('Sub', [total(), length()], { type: 'i64', sizes: [1] }));
  const unsqueeze = (value: GraphValue, axes: readonly number[], sizes: readonly Size[]) =>
    graph.node('Unsqueeze', [value, graph.integers(axes)], { type: value.type, sizes });
  /** `[batch, 1, 1, keys]`, true for visible tokens. */
  const seen = () => once('seen', () => unsqueeze(graph.cast(mask, 'bool'), [1, 2], ['batch_size', 1, 1, keySize]));
  const bias = (type: FloatType, visible: GraphValue) =>
    graph.node('Where', [visible, graph.number(0, type), graph.number(hidden, type)], { type, sizes: visible.sizes });
  const keys = () => once('keys', () => range(graph.integers(0), scalar(total()), keySize));
  const places = () =>
    cached ? once('places', () => range(scalar(past()), scalar(total()), 'sequence_length')) : keys();
  const pairs = ['sequence_length', keySize] as const;
  const distances = () =>
    once('distances', () => {
      const queries = unsqueeze(places(), [1], ['sequence_length', 1]);
      return graph.node('Sub', [queries, keys()], { type: 'i64', sizes: pairs });
    });
  /** `[length, keys]`, or undefined if all keys are visible. */
  const reach = (causal: boolean, window: number | undefined): GraphValue | undefined => {
    const sizes = pairs;
    const back = causal
      ? graph.node('GreaterOrEqual', [distances(), graph.integers(0)], { type: 'bool', sizes })
      : undefined;
    if (window === undefined) return back;
    const apart = causal ? distances() : graph.node('Abs', [distances()], { type: 'i64', sizes });
    const near = graph.node('Less', [apart, graph.integers(window)], { type: 'bool', sizes });
    return back ? graph.node('And', [back, near], { type: 'bool', sizes }) : near;
  };
  return {
    ...{ ids, mask, places, distances },
    segments: () => once('segments', () => graph.input('token_type_ids', 'i64', ids.sizes)),
    positions: () =>
      once('positions', () => {
        if (!cached) return unsqueeze(places(), [0], [1, 'sequence_length']);
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
        return graph.node('Expand', [bias(type, seen()), shape], { type, sizes: ['batch_size', 1, ...pairs] });
      }),
    scoreBias: (type, causal, window) =>
      once(`scores ${type} ${causal} ${window}`, () => {
        const reached = reach(causal, window);
        const sizes = ['batch_size', 1, ...pairs] as const;
        return bias(type, reached ? graph.node('And', [reached, seen()], { type: 'bool', sizes }) : seen());
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
