import {
  type Activation,
  type AttentionArgs,
  type Ops,
  type RotaryTable,
  SchemeError,
  type Tensor,
  toF32,
} from '@q/core';
import { type AttentionWriter, mergeHeads, rotateHeads } from './attention.js';
import { contrib, type Graph, int } from './graph.js';
import type { GraphValue, Size } from './graph-value.js';
import { firstToken, lastSeenToken } from './sentence-vector.js';
import type { FloatType, Sequence } from './sequence.js';
import { createTokenRouting } from './token-routing.js';

/** Access to weights in a graph. */
interface GraphWeights {
  /** Rows of a table of the checkpoint, f32. */
  rows(name: string, ids: GraphValue): GraphValue;
}

export interface GraphOpsOptions {
  readonly graph: Graph;
  readonly sequence: Sequence;
  readonly weights: GraphWeights;
  readonly attention: AttentionWriter;
  /** Type of the values inside of attention and feed-forward layers; the residual stream and the norms are f32. */
  readonly type: FloatType;
  /** Use only ONNX's own operators. */
  readonly portable: boolean;
}

/** Replaces the token ids, which are unknown when the graph is written. */
export const tracedIds = new Int32Array(0);

/** Replaces the size of the batch: a prime that is not the width of any layer. */
export const tracedBatch = 65521;

/**
 * The operations of forward passes; each writes nodes. The pass runs once, over `tracedIds`, with a batch of
 * `tracedBatch` and the largest `length` of the model, so tables by position have all of their rows.
 */
export function createGraphOps(options: GraphOpsOptions, length: number): Ops<GraphValue> {
  const { graph, sequence, weights, portable } = options;
  const traced: Readonly<Record<string, number>> = {
    batch_size: tracedBatch,
    sequence_length: length,
    tokens: tracedBatch * length,
  };
  const shape = (x: GraphValue) => x.sizes.map((size) => (typeof size === 'number' ? size : traced[size]!));
  /** Nodes that add two values of equal shapes, by the name of their output. */
  const sums = new Map<string, Graph['nodes'][number]>();
  const relative = new Map<string, GraphValue>();
  const like = (x: GraphValue, type = x.type) => ({ type, sizes: x.sizes });
  const unary = (op: string, x: GraphValue, attributes = {}) => graph.node(op, [x], like(x), { attributes });
  const constant = (value: number, x: GraphValue) => graph.number(value, x.type as FloatType);
  const f32 = (x: GraphValue) => graph.floats(x, 'f32');
  /** The wider type of two operands; a weight takes the type of the other one. */
  const alike = (a: GraphValue, b: GraphValue): [GraphValue, GraphValue] => {
    const type = a.type === 'f16' && (b.weight !== undefined || b.type === 'f16') ? 'f16' : 'f32';
    return [graph.floats(a, type), graph.floats(b, type)];
  };
  const unsupported = (what: string): never => {
    throw new SchemeError(`${what} cannot be written as a graph`);
  };

  /** Merged with the sum that it reads, if there is one: the sum is then a second output. */
  function norm(x: GraphValue, op: string, parameters: readonly GraphValue[], epsilon: number): GraphValue | undefined {
    const sum = portable ? undefined : sums.get(x.name);
    if (!sum) return undefined;
    sums.delete(x.name);
    const name = graph.fresh(op);
    const joined = graph.describe(op, [], [name], { domain: contrib, attributes: { epsilon } });
    joined.input = [...sum.input, ...parameters.map((value) => value.name)];
    joined.output = [name, '', '', x.name];
    graph.replace(sum, joined);
    return { name, ...like(x) };
  }

  return {
    fromTensor: (tensor: Tensor) => stored(toF32(tensor), tensor.shape),
    fromF32: (data, dims) => stored(data, dims),
    shape,
    data: () => unsupported('a pass that reads its own values'),
    dataSync: () => unsupported('a pass that reads its own values'),
    scope: (f) => f(),
    keep: (x) => x,
    dispose: () => {},

    embed(table, ids) {
      if (table.weight === undefined) return unsupported('an embedding that is not a tensor of the checkpoint');
      if (ids.length === length * length) return relativeRows(table, ids);
      if (ids !== tracedIds) return unsupported('an embedding of other ids than those of the tokens');
      return weights.rows(table.weight, sequence.ids);
    },
    linear(x, weight, bias) {
      if (weight.meaning?.kind === 'average') return averageOfTokens(x);
      const turned = transpose(f32(weight));
      const sizes = [...x.sizes.slice(0, -1), turned.sizes[1]!];
      const product = graph.node('MatMul', [f32(x), turned], { type: 'f32', sizes });
      return bias ? graph.node('Add', [product, f32(bias)], product) : product;
    },
    add(a, b) {
      if (a.constant && b.constant) return addConstants(a, b);
      const [left, right] = alike(a, b);
      const sum = graph.node('Add', [left, right], like(left));
      if (`${left.sizes}` === `${right.sizes}`) sums.set(sum.name, graph.nodes.at(-1)!);
      return sum;
    },
    mul(a, b) {
      const [left, right] = alike(a, b);
      return graph.node('Mul', [left, right], { type: left.type, sizes: broadcast(left.sizes, right.sizes) });
    },
    scale: (a, factor) => graph.node('Mul', [a, constant(factor, a)], like(a)),
    rmsNorm(input, gain, epsilon) {
      const x = f32(input);
      const joined = norm(x, 'SkipSimplifiedLayerNormalization', [f32(gain)], epsilon);
      if (joined) return joined;
      // onnxruntime treats these as its own SimplifiedLayerNormalization, which is not part of ONNX.
      const squares = graph.node('Pow', [x, graph.number(2, 'f32')], like(x));
      const one = { type: x.type, sizes: [...x.sizes.slice(0, -1), 1] };
      const mean = graph.node('ReduceMean', [squares, graph.integers([-1])], one, { attributes: { keepdims: int(1) } });
      const shifted = graph.node('Add', [mean, graph.number(epsilon, 'f32')], one);
      const root = graph.node('Sqrt', [shifted], one);
      const scaled = graph.node('Div', [x, root], like(x));
      return graph.node('Mul', [scaled, f32(gain)], like(x));
    },
    layerNorm(input, gain, bias, epsilon) {
      const x = f32(input);
      const parameters = [f32(gain), ...(bias ? [f32(bias)] : [])];
      return (
        (bias && norm(x, 'SkipLayerNormalization', parameters, epsilon)) ??
        graph.node('LayerNormalization', [x, ...parameters], like(x), { attributes: { axis: int(-1), epsilon } })
      );
    },
    activation: (kind, x) => activations[kind](graph, x),
    clip: (x, min, max) => graph.node('Clip', [x, constant(min, x), constant(max, x)], like(x)),
    softmax: (x) => unary('Softmax', x, { axis: int(-1) }),
    split(x, sizes) {
      if (x.meaning?.kind === 'flattened') return splitTokens(x.meaning.of, sizes);
      const parts = sizes.map((size) => ({ type: x.type, sizes: [...x.sizes.slice(0, -1), size] }));
      return graph.nodeOf('Split', [x, graph.integers(sizes)], parts, { attributes: { axis: int(-1) } });
    },
    rotary: (x, heads, table) => rotated(x, heads, table),
    attention: (args: AttentionArgs<GraphValue>) =>
      options.attention(graph, sequence, { ...args, q: inside(args.q), k: inside(args.k), v: inside(args.v) }),
    append: (a, b) => graph.node('Concat', [a, b], like(a), { attributes: { axis: int(1) } }),
    rows(x, start, count) {
      if (x.weight !== undefined && start === 0 && count === 1) return firstRow(x.weight, x.sizes);
      if (x.weight === undefined || count !== length) return unsupported('a part of a value by rows');
      const offset = start === 0 ? undefined : graph.integers(start);
      const positions = sequence.positions();
      return weights.rows(x.weight, offset ? graph.node('Add', [positions, offset], like(positions)) : positions);
    },
    scatterRows: () => unsupported('a sum of rows by ids'),
    reshape(x, target) {
      if (x.meaning?.kind === 'each token' || x.meaning?.kind === 'each pair') return x;
      if (x.sizes[1] === 'sequence_length' && target.length === 2 && target[1] === length * (x.sizes[2] as number))
        return { name: x.name, type: x.type, sizes: ['batch_size', target[1]], meaning: { kind: 'flattened', of: x } };
      const sizes = target.map((size, axis): Size => {
        if (size === tracedBatch) return 'batch_size';
        if (size === length && target[axis - 1] === tracedBatch) return 'sequence_length';
        return size === tracedBatch * length ? 'tokens' : size;
      });
      const symbolic = sizes.map((size, axis) => (typeof size === 'number' ? size : size === x.sizes[axis] ? 0 : -1));
      const whole = sizes.map((size) => (size === -1 ? 'tokens' : size));
      return graph.node('Reshape', [x, graph.integers(symbolic)], { type: x.type, sizes: whole });
    },
    transpose,
    routing: createTokenRouting(graph),
  };

  /** Converts queries, keys and values to the type of the layers, since norms of single heads give f32. */
  function inside(value: GraphValue): GraphValue {
    const { type } = options;
    const { rotated, layer, sizes } = value;
    if (value.type === type) return value;
    return {
      get name() {
        return graph.cast(value, type).name;
      },
      ...{ type, sizes },
      ...(layer === undefined ? {} : { layer }),
      ...(rotated ? { rotated: { ...rotated, input: graph.cast(rotated.input, type) } } : {}),
    };
  }

  /**
   * In the pass every token gets the row of the first segment; a graph takes the segments from an input. A table of one
   * row has no segments.
   */
  function firstRow(table: string, [rows]: readonly Size[]): GraphValue {
    if (rows === 1) return graph.tensor(table, 'f32');
    return { ...weights.rows(table, sequence.segments()), meaning: { kind: 'each token' } };
  }

  /**
   * Rows of a table for each pair of tokens, by the distance between them: `ids` `[length, length]` is constant along
   * each diagonal.
   */
  function relativeRows(table: GraphValue, ids: Int32Array): GraphValue {
    const key = `relative ${table.weight}`;
    const found = relative.get(key);
    if (found) return found;
    const own = (distance: number) => (distance >= 0 ? ids[distance * length]! : ids[-distance]!);
    for (let query = 0; query < length; query++)
      for (let other = 0; other < length; other++)
        if (ids[query * length + other] !== own(query - other))
          return unsupported('an embedding of pairs that is not one of distances');
    const byDistance = Array.from({ length: 2 * length - 1 }, (_, at) => own(at + 1 - length));
    const pairs = ['sequence_length', 'sequence_length'] as const;
    const shifted = graph.node('Add', [sequence.distances(), graph.integers(length - 1)], {
      type: 'i64',
      sizes: pairs,
    });
    const kinds = graph.node('Gather', [graph.integers(byDistance), shifted], { type: 'i64', sizes: pairs });
    const width = table.sizes[1]!;
    const rows = graph.node('Gather', [f32(table), kinds], { type: 'f32', sizes: [...pairs, width] });
    const plane = graph.node(
      'Transpose',
      [rows],
      { type: 'f32', sizes: [width, ...pairs] },
      {
        attributes: { perm: int([2, 0, 1]) },
      },
    );
    const made: GraphValue = { ...plane, meaning: { kind: 'each pair' } };
    relative.set(key, made);
    return made;
  }

  /** The first or the last token of each sequence, from `[batch, length * width]`; the other part is not written. */
  function splitTokens(x: GraphValue, sizes: readonly number[]): GraphValue[] {
    const width = x.sizes[2] as number;
    const at = sizes.indexOf(width);
    if (sizes.length !== 2 || at < 0) return unsupported('a part of a sequence');
    // A sequence may have padding after its last token.
    const token = at === 0 ? firstToken(graph, x) : lastSeenToken(graph, sequence, x);
    return at === 0 ? [token, x] : [x, token];
  }

  /** `[batch, width, length]` -> `[batch, width, 1]`, without padding. */
  function averageOfTokens(x: GraphValue): GraphValue {
    const one = { type: 'f32', sizes: ['batch_size', 1, 'sequence_length'] } as const;
    const mask = graph.node('Unsqueeze', [graph.cast(sequence.mask, 'f32'), graph.integers([1])], one);
    const sum = (value: GraphValue, sizes: readonly Size[]) =>
      graph.node(
        'ReduceSum',
        [value, graph.integers([-1])],
        { type: 'f32', sizes },
        { attributes: { keepdims: int(1) } },
      );
    const kept = graph.node('Mul', [f32(x), mask], { type: 'f32', sizes: x.sizes });
    const sizes = [...x.sizes.slice(0, -1), 1];
    return graph.node('Div', [sum(kept, sizes), sum(mask, ['batch_size', 1, 1])], { type: 'f32', sizes });
  }

  function transpose(x: GraphValue): GraphValue {
    if (x.meaning?.kind === 'each pair') return x;
    const { length: rank } = x.sizes;
    const order = [...x.sizes.keys()].slice(0, -2).concat(rank - 1, rank - 2);
    const sizes = order.map((axis) => x.sizes[axis]!);
    return graph.node('Transpose', [x], { type: x.type, sizes }, { attributes: { perm: int(order) } });
  }

  function stored(data: Float32Array, dims: readonly number[]): GraphValue {
    // One factor a position: the rows of the pass's tokens.
    if (dims.length === 3 && dims[0] === 1 && dims[1] === length && dims[2] === 1) {
      const all = graph.storeFloats(graph.fresh('factors'), 'f32', [length, 1], async () => data);
      return graph.node('Gather', [all, sequence.places()], { type: 'f32', sizes: ['sequence_length', 1] });
    }
    if (dims.length === 2 && dims[1] === length && length > 1 && data.every((share) => share === data[0]))
      return { name: '', type: 'f32', sizes: dims, meaning: { kind: 'average' } };
    return later(graph.fresh('values'), dims, async () => data);
  }

  /** A constant that is written only if a node reads it. */
  function later(name: string, sizes: readonly Size[], constant: () => Promise<Float32Array>): GraphValue {
    return {
      get name() {
        return graph.storeFloats(name, 'f32', sizes as readonly number[], constant).name;
      },
      ...{ type: 'f32', sizes, constant },
    };
  }

  /** Computed when the file is written: the gain of a norm that is 1 + weight. `b` may have fewer axes. */
  function addConstants(a: GraphValue, b: GraphValue): GraphValue {
    const name = graph.fresh(a.weight === undefined ? 'sum' : `${a.weight}_sum`);
    return later(name, a.sizes, async () => {
      const [values, others] = [await a.constant!(), await b.constant!()];
      return values.map((value, index) => Math.fround(value + others[index % others.length]!));
    });
  }

  /** Written only if something other than attention reads it. */
  function rotated(input: GraphValue, heads: number, table: RotaryTable): GraphValue {
    let written: GraphValue | undefined;
    return {
      get name() {
        written ??= mergeHeads(
          graph,
          rotateHeads(graph, sequence, { input, table, heads }),
          input.sizes.at(-1) as number,
        );
        return written.name;
      },
      ...like(input),
      rotated: { input, table, heads },
    };
  }
}

function broadcast(a: readonly Size[], b: readonly Size[]): Size[] {
  const wide = a.length >= b.length ? a : b;
  const narrow = wide === a ? b : a;
  const shift = wide.length - narrow.length;
  return wide.map((size, axis) => (size === 1 && axis >= shift ? narrow[axis - shift]! : size));
}

/** onnxruntime's Gelu computes only in f32 on processors. */
const gelu = (approximate: string) => (graph: Graph, x: GraphValue) => {
  const wide = graph.cast(x, 'f32');
  const out = graph.node('Gelu', [wide], { type: 'f32', sizes: x.sizes }, { attributes: { approximate } });
  return graph.cast(out, x.type);
};
const unary = (op: string) => (graph: Graph, x: GraphValue) => graph.node(op, [x], { type: x.type, sizes: x.sizes });

const activations: Readonly<Record<Activation, (graph: Graph, x: GraphValue) => GraphValue>> = {
  relu: unary('Relu'),
  sigmoid: unary('Sigmoid'),
  tanh: unary('Tanh'),
  silu: (graph, x) => graph.node('Mul', [x, unary('Sigmoid')(graph, x)], { type: x.type, sizes: x.sizes }),
  gelu: gelu('none'),
  geluTanh: gelu('tanh'),
};
