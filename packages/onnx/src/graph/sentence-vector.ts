import type { PoolingMode, SentenceModule, SentenceModules } from '@q/models';
import { type Graph, int } from './graph.js';
import type { GraphValue, Size } from './graph-value.js';
import type { Sequence } from './sequence.js';

/** The steps of a sentence-transformers folder after the hidden states `[batch, length, width]` -> `[batch, size]`. */
export function writeSentenceVector(
  graph: Graph,
  sequence: Sequence,
  states: GraphValue,
  { modules }: SentenceModules,
): GraphValue {
  let vector = graph.cast(states, 'f32');
  for (const module of modules) vector = writeModule(graph, sequence, vector, module);
  return vector;
}

function writeModule(graph: Graph, sequence: Sequence, x: GraphValue, module: SentenceModule): GraphValue {
  if (module.kind === 'pooling') {
    const parts = module.modes.map((mode) => poolings[mode](graph, sequence, x));
    if (parts.length === 1) return parts[0]!;
    const sizes: Size[] = ['batch_size', parts.length * (x.sizes[2] as number)];
    return graph.node('Concat', parts, { type: 'f32', sizes }, { attributes: { axis: int(-1) } });
  }
  if (module.kind === 'normalize') {
    const one = { type: 'f32', sizes: ['batch_size', 1] } as const;
    const norm = graph.node('ReduceL2', [x, graph.integers([-1])], one, { attributes: { keepdims: int(1) } });
    return graph.node('Div', [x, graph.node('Max', [norm, graph.number(1e-12, 'f32')], one)], x);
  }
  const { weight, bias, activation } = module;
  const [rows, columns] = weight.shape as [number, number];
  const own = graph.storeFloats(graph.fresh('dense'), 'f32', [rows, columns], async () => weight.data);
  const added = bias && graph.storeFloats(graph.fresh('dense_bias'), 'f32', [rows], async () => bias);
  const out = { type: 'f32', sizes: ['batch_size', rows] } as const;
  const y = graph.node('Gemm', [x, own, ...(added ? [added] : [])], out, { attributes: { transB: int(1) } });
  return activation === 'tanh' ? graph.node('Tanh', [y], out) : y;
}

type Pooling = (graph: Graph, sequence: Sequence, x: GraphValue) => GraphValue;

/** The mask as factors `[batch, length, 1]`. */
const shares = (graph: Graph, { mask }: Sequence): GraphValue =>
  graph.node('Unsqueeze', [graph.cast(mask, 'f32'), graph.integers([-1])], {
    type: 'f32',
    sizes: ['batch_size', 'sequence_length', 1],
  });

const pooled = (x: GraphValue) => ({ type: 'f32', sizes: ['batch_size', x.sizes[2]!] }) as const;

const sumOfTokens: Pooling = (graph, sequence, x) => {
  const seen = graph.node('Mul', [x, shares(graph, sequence)], x);
  return graph.node('ReduceSum', [seen, graph.integers([1])], pooled(x), { attributes: { keepdims: int(0) } });
};

/** Number of visible tokens `[batch, 1]`, at least one. */
function count(graph: Graph, sequence: Sequence): GraphValue {
  const one = { type: 'f32', sizes: ['batch_size', 1] } as const;
  const mask = graph.cast(sequence.mask, 'f32');
  const sum = graph.node('ReduceSum', [mask, graph.integers([1])], one, { attributes: { keepdims: int(1) } });
  return graph.node('Max', [sum, graph.number(1, 'f32')], one);
}

/** `[batch, length, width]` -> `[batch, width]` */
export const firstToken = (graph: Graph, x: GraphValue): GraphValue =>
  graph.node('Gather', [x, graph.integers(0)], pooled(x), { attributes: { axis: int(1) } });

/** The last visible token, with padding on either side. */
export function lastSeenToken(graph: Graph, sequence: Sequence, x: GraphValue): GraphValue {
  const { mask } = sequence;
  const placed = graph.node('Mul', [mask, sequence.places()], mask);
  const one = { type: 'i64', sizes: ['batch_size', 1] } as const;
  const last = graph.node('ReduceMax', [placed, graph.integers([1])], one, { attributes: { keepdims: int(1) } });
  const here = graph.node('Equal', [sequence.places(), last], { type: 'bool', sizes: mask.sizes });
  const factor = graph.cast(here, 'f32');
  const sizes: Size[] = ['batch_size', 'sequence_length', 1];
  const column = graph.node('Unsqueeze', [factor, graph.integers([-1])], { type: 'f32', sizes });
  const kept = graph.node('Mul', [x, column], x);
  return graph.node('ReduceSum', [kept, graph.integers([1])], pooled(x), { attributes: { keepdims: int(0) } });
}

const poolings: Readonly<Record<PoolingMode, Pooling>> = {
  cls: (graph, _sequence, x) => firstToken(graph, x),
  mean: (graph, sequence, x) => graph.node('Div', [sumOfTokens(graph, sequence, x), count(graph, sequence)], pooled(x)),
  mean_sqrt_len(graph, sequence, x) {
    const all = count(graph, sequence);
    return graph.node('Div', [sumOfTokens(graph, sequence, x), graph.node('Sqrt', [all], all)], pooled(x));
  },
  max(graph, sequence, x) {
    const mask = graph.cast(sequence.mask, 'bool');
    const sizes: Size[] = ['batch_size', 'sequence_length', 1];
    const seen = graph.node('Unsqueeze', [mask, graph.integers([-1])], { type: 'bool', sizes });
    const own = graph.node('Where', [seen, x, graph.number(-1e30, 'f32')], x);
    return graph.node('ReduceMax', [own, graph.integers([1])], pooled(x), { attributes: { keepdims: int(0) } });
  },
  lasttoken: lastSeenToken,
};
