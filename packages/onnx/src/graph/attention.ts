import { type AttentionArgs, type RotaryTable, SchemeError } from '@q/core';
import { contrib, type Graph, int } from './graph.js';
import type { GraphValue, Size } from './graph-value.js';
import type { FloatType, Sequence } from './sequence.js';

/**
 * Writes the attention of a layer with its cache: inputs `past_key_values.N.key` and the like, outputs `present.N.key`.
 */
export type AttentionWriter = (graph: Graph, sequence: Sequence, args: AttentionArgs<GraphValue>) => GraphValue;

/**
 * One node of onnxruntime that rotates, appends to the cache and computes attention. A bias masks padding on either
 * side. The node takes indices in the cache as positions, which is correct because rotary positions are relative.
 */
export const groupQueryAttention: AttentionWriter = (graph, sequence, args) => {
  const { heads, kvHeads, headDim, scale, window } = args;
  const inside = rotatedAlike(args);
  const [q, k] = inside ? [args.q.rotated!.input, args.k.rotated!.input] : [args.q, args.k];
  const type = q.type as FloatType;
  const past = pastOf(graph, args, type);
  const tables = inside ? rotaryTables(graph, args.q.rotated!.table, type) : [undefined, undefined];
  const present = { type, sizes: ['batch_size', kvHeads, 'total_sequence_length', headDim] } as const;
  const mixed = { type, sizes: ['batch_size', 'sequence_length', heads * headDim] } as const;
  const [out, ...presents] = graph.nodeOf(
    'GroupQueryAttention',
    [
      ...[q, k, args.v, past.key, past.value, sequence.lastPlace(), sequence.totalLength(), ...tables],
      ...[undefined, sequence.paddingBias(type), ...(args.sinks ? [graph.floats(args.sinks, type)] : [])],
    ],
    [mixed, present, present],
    {
      domain: contrib,
      outputs: [undefined, ...presentNames(args)],
      attributes: {
        ...{ num_heads: int(heads), kv_num_heads: int(kvHeads), scale },
        do_rotary: int(inside ? 1 : 0),
        local_window_size: int(window ?? -1),
      },
    },
  );
  for (const value of presents) graph.output(value);
  return out!;
};

/** The reason why {@link groupQueryAttention} cannot be used, or undefined. */
export function refuseGroupQueryAttention(args: AttentionArgs<GraphValue>): string | undefined {
  const { headDim, softCap, bias, causal = true } = args;
  const inside = rotatedAlike(args);
  const rotated = inside ? args.q.rotated!.table.headDim : headDim;
  const multiple = inside ? 16 : 8;
  if (!causal) return 'tokens that see later ones';
  if (bias) return 'a bias of the heads';
  if (headDim % multiple !== 0) return `heads of ${headDim}, which is not a multiple of ${multiple}`;
  if (rotated % multiple !== 0)
    return `positions in ${rotated} features of a head, which is not a multiple of ${multiple}`;
  // onnxruntime's WebGPU provider ignores it silently.
  return softCap === undefined ? undefined : 'limited scores on every device';
}

function rotatedAlike({ q, k }: AttentionArgs<GraphValue>): boolean {
  return q.rotated !== undefined && q.rotated.table === k.rotated?.table;
}

/** Attention in ONNX's own operators. */
export const plainAttention: AttentionWriter = (graph, sequence, args) => {
  const { heads, kvHeads, headDim, scale, window, softCap, sinks } = args;
  if (args.causal === false || args.bias)
    throw new SchemeError('attention to later tokens or with a bias of the heads cannot be written with a cache');
  const type = args.q.type as FloatType;
  const past = pastOf(graph, args, type);
  const placed = (value: GraphValue, count: number) =>
    value.rotated ? rotateHeads(graph, sequence, value.rotated) : perHead(graph, value, count, headDim);
  const names = presentNames(args);
  const append = (before: GraphValue, own: GraphValue, name: string) => {
    const sizes = ['batch_size', kvHeads, 'total_sequence_length', headDim] as const;
    const options = { attributes: { axis: int(2) }, outputs: [name] };
    const present = graph.node('Concat', [before, own], { type, sizes }, options);
    graph.output(present);
    return present;
  };
  const queries = placed(args.q, heads);
  const key = append(past.key, placed(args.k, kvHeads), names[0]);
  const value = append(past.value, placed(args.v, kvHeads), names[1]);
  const bias = sequence.scoreBias(type, true, window);
  const mixed = attendPlainly(graph, { queries, key, value, heads, kvHeads, headDim, scale, bias, softCap, sinks });
  return mergeHeads(graph, mixed, heads * headDim);
};

/** Attention of an encoder, which has no cache. onnxruntime's own node computes only in f32, and does not rotate. */
export const encoderAttention =
  (portable: boolean): AttentionWriter =>
  (graph, sequence, args) => {
    const { heads, kvHeads, headDim, scale, window, causal = true, softCap, sinks } = args;
    const type = args.q.type as FloatType;
    const own = args.bias && graph.floats(args.bias, type);
    const between = (bias: GraphValue) => {
      if (!own) return bias;
      const sizes: Size[] = ['batch_size', heads, 'sequence_length', 'sequence_length'];
      return graph.node('Add', [bias, own], { type, sizes });
    };
    const rotated = args.q.rotated !== undefined || args.k.rotated !== undefined;
    if (portable || rotated || type !== 'f32' || kvHeads !== heads || softCap !== undefined || sinks) {
      const placed = (value: GraphValue, count: number) =>
        value.rotated ? rotateHeads(graph, sequence, value.rotated) : perHead(graph, value, count, headDim);
      const [queries, key, value] = [placed(args.q, heads), placed(args.k, kvHeads), placed(args.v, kvHeads)];
      const bias = between(sequence.scoreBias(type, causal, window));
      const mixed = attendPlainly(graph, {
        ...{ queries, key, value, heads, kvHeads, headDim, scale, bias, softCap, sinks },
      });
      return mergeHeads(graph, mixed, heads * headDim);
    }
    const bias = causal || window !== undefined ? sequence.scoreBias(type, causal, window) : sequence.paddingBias(type);
    return graph.node('MultiHeadAttention', [args.q, args.k, args.v, undefined, undefined, between(bias)], args.q, {
      domain: contrib,
      attributes: { num_heads: int(heads), scale },
    });
  };

interface PlainAttention {
  /** `[batch, heads, length, headDim]` */
  readonly queries: GraphValue;
  /** `[batch, kvHeads, keys, headDim]` */
  readonly key: GraphValue;
  readonly value: GraphValue;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly scale: number;
  /** Added to the scores; axes of size 1 are repeated. */
  readonly bias: GraphValue | undefined;
  /** As in `AttentionArgs`. */
  readonly softCap?: number;
  readonly sinks?: GraphValue;
}

/** `softmax(scale * q k^T + bias) v` -> `[batch, heads, length, headDim]`. */
function attendPlainly(graph: Graph, args: PlainAttention): GraphValue {
  const { queries, heads, kvHeads, headDim, scale, bias, softCap, sinks } = args;
  const type = queries.type as FloatType;
  const key = repeatHeads(graph, args.key, heads / kvHeads);
  const value = repeatHeads(graph, args.value, heads / kvHeads);
  const keys = key.sizes[2]!;
  const turned = transpose(graph, key, [0, 1, 3, 2]);
  const scaled = graph.node('Mul', [queries, graph.number(scale, type)], queries);
  const scores = { type, sizes: [...queries.sizes.slice(0, 3), keys] };
  let logits = graph.node('MatMul', [scaled, turned], scores);
  if (softCap !== undefined) {
    const limit = graph.number(softCap, type);
    const share = graph.node('Div', [logits, limit], scores);
    logits = graph.node('Mul', [graph.node('Tanh', [share], scores), limit], scores);
  }
  if (bias) logits = graph.node('Add', [logits, bias], scores);
  const shares = sinks ? softmaxWithSinks(graph, logits, sinks, heads) : softmax(graph, logits);
  return graph.node('MatMul', [shares, value], { type, sizes: [...queries.sizes.slice(0, 3), headDim] });
}

const softmax = (graph: Graph, x: GraphValue): GraphValue =>
  graph.node('Softmax', [x], x, { attributes: { axis: int(-1) } });

/** One more score for each row; its weight is dropped after the softmax. */
function softmaxWithSinks(graph: Graph, scores: GraphValue, sinks: GraphValue, heads: number): GraphValue {
  const { sizes } = scores;
  const type = scores.type as FloatType;
  const own = graph.floats(sinks, type);
  const column = graph.node('Reshape', [own, graph.integers([1, heads, 1, 1])], { type, sizes: [1, heads, 1, 1] });
  const rows = [...sizes.slice(0, 3), 1];
  const ends = [graph.integers([0]), graph.integers([1]), graph.integers([3])];
  const zeros = graph.node(
    'Mul',
    [graph.node('Slice', [scores, ...ends], { type, sizes: rows }), graph.number(0, type)],
    {
      type,
      sizes: rows,
    },
  );
  const last = graph.node('Add', [zeros, column], { type, sizes: rows });
  const all = graph.node(
    'Concat',
    [scores, last],
    { type, sizes: [...sizes.slice(0, 3), 'rows'] },
    { attributes: { axis: int(-1) } },
  );
  const until = [graph.integers([0]), graph.integers([-1]), graph.integers([3])];
  return graph.node('Slice', [softmax(graph, all), ...until], scores);
}

/** `[batch, length, heads*headDim]` -> `[batch, heads, length, headDim]`. */
function perHead(graph: Graph, value: GraphValue, heads: number, headDim: number): GraphValue {
  const { sizes, type } = value;
  const shape = graph.integers([0, 0, heads, headDim]);
  const apart = graph.node('Reshape', [value, shape], { type, sizes: [sizes[0]!, sizes[1]!, heads, headDim] });
  return transpose(graph, apart, [0, 2, 1, 3]);
}

/** The inverse of {@link perHead}. */
export function mergeHeads(graph: Graph, value: GraphValue, width: number): GraphValue {
  const turned = transpose(graph, value, [0, 2, 1, 3]);
  const sizes = [turned.sizes[0]!, turned.sizes[1]!, width];
  return graph.node('Reshape', [turned, graph.integers([0, 0, width])], { type: value.type, sizes });
}

function transpose(graph: Graph, value: GraphValue, order: readonly number[]): GraphValue {
  const sizes = order.map((axis) => value.sizes[axis]!);
  return graph.node('Transpose', [value], { type: value.type, sizes }, { attributes: { perm: int(order) } });
}

/** Repeats each key head for its query heads. */
function repeatHeads(graph: Graph, value: GraphValue, times: number): GraphValue {
  if (times === 1) return value;
  const { type } = value;
  const [batch, heads, keys, headDim] = value.sizes as [GraphValue['sizes'][number], number, never, number];
  const apart = { type, sizes: [batch, heads, 1, keys, headDim] };
  const own = graph.node('Unsqueeze', [value, graph.integers([2])], apart);
  const repeated = { type, sizes: [batch, heads, times, keys, headDim] };
  const expanded = graph.node('Expand', [own, graph.integers([1, 1, times, 1, 1])], repeated);
  const shape = graph.integers([0, heads * times, -1, headDim]);
  return graph.node('Reshape', [expanded, shape], { type, sizes: [batch, heads * times, keys, headDim] });
}

/** The tables of rotary positions as initializers `[positions, headDim/2]`. */
function rotaryTables(graph: Graph, table: RotaryTable, type: FloatType): readonly [GraphValue, GraphValue] {
  const dims = [table.positions, table.headDim / 2];
  const store = (kind: 'cos' | 'sin') =>
    graph.storeFloats(graph.nameOf(table[kind], `${kind}_cache`), type, dims, async () => table[kind]);
  return [store('cos'), store('sin')];
}

/**
 * Rotates each head by the token's index: pairs are j and j + headDim/2; -> `[batch, heads, length, headDim]`. Indices
 * serve as positions, also in rows with padding on the left, since attention depends only on differences.
 */
export function rotateHeads(
  graph: Graph,
  sequence: Sequence,
  { input, table, heads }: NonNullable<GraphValue['rotated']>,
): GraphValue {
  const headDim = (input.sizes.at(-1) as number) / heads;
  const half = table.headDim / 2;
  const further = headDim - table.headDim;
  const type = input.type as FloatType;
  const own = perHead(graph, input, heads, headDim);
  const [cos, sin] = rotaryTables(graph, table, type).map((values) =>
    graph.node('Gather', [values, sequence.places()], { type, sizes: ['sequence_length', half] }),
  ) as [GraphValue, GraphValue];
  const sizes = [...own.sizes.slice(0, 3), half];
  const widths = [half, half, ...(further > 0 ? [further] : [])];
  const [first, second, ...rest] = graph.nodeOf(
    'Split',
    [own, graph.integers(widths)],
    widths.map((width) => ({ type, sizes: [...own.sizes.slice(0, 3), width] })),
    { attributes: { axis: int(-1) } },
  ) as [GraphValue, GraphValue, ...GraphValue[]];
  const times = (a: GraphValue, b: GraphValue) => graph.node('Mul', [a, b], { type, sizes });
  const turned = [
    graph.node('Sub', [times(first, cos), times(second, sin)], { type, sizes }),
    graph.node('Add', [times(second, cos), times(first, sin)], { type, sizes }),
    ...rest,
  ];
  return graph.node('Concat', turned, { type, sizes: own.sizes }, { attributes: { axis: int(-1) } });
}

function pastOf(
  graph: Graph,
  args: AttentionArgs<GraphValue>,
  type: FloatType,
): { key: GraphValue; value: GraphValue } {
  const sizes = ['batch_size', args.kvHeads, 'past_sequence_length', args.headDim] as const;
  const input = (kind: string) => graph.input(`past_key_values.${layerOf(args)}.${kind}`, type, sizes);
  return { key: input('key'), value: input('value') };
}

const presentNames = (args: AttentionArgs<GraphValue>): readonly [string, string] => [
  `present.${layerOf(args)}.key`,
  `present.${layerOf(args)}.value`,
];

const layerOf = ({ k }: AttentionArgs<GraphValue>) => k.layer as number;
