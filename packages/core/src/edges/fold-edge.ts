import { SchemeError, ShapeError } from '../contracts/errors.js';
import type { Tensor } from '../contracts/tensor.js';
import type { BlockWeights, ScalableEdge } from '../contracts/transform.js';
import { tensor } from '../tensor.js';
import { selectedRows } from './selected-rows.js';

/** Names of the tensors that change when scales are folded into an edge; a producer may lack the bias. */
export function edgeTensors({ producer, consumers }: ScalableEdge): string[] {
  return [`${producer.module}.weight`, `${producer.module}.bias`, ...consumers.map((consumer) => `${consumer}.weight`)];
}

/**
 * Producer channel of each consumer channel. It is the identity, except for grouped-query heads, where `times`
 * consecutive heads of the consumer read one head of the producer.
 * @param width input features of the consumers
 */
export function edgeChannels({ repeat }: ScalableEdge, width: number): Int32Array {
  if (!repeat || repeat.times === 1) return Int32Array.from({ length: width }, (_, j) => j);
  const { times, headDim } = repeat;
  return Int32Array.from(
    { length: width },
    (_, j) => Math.floor(Math.floor(j / headDim) / times) * headDim + (j % headDim),
  );
}

/**
 * Folds per-channel scales into an edge without changing the function. The producer's channel j is divided by `s_j`
 * (gain, rows and bias), column j of every consumer is multiplied by it, and the inputs of the consumers become
 * `x_j / s_j`.
 *
 * @param scales `[width]`, positive and finite; all channels that read one producer channel have one scale
 * @returns the changed tensors, and the factors `1/s` of the consumers' inputs
 * @throws SchemeError for scales that cannot be folded, naming the edge and the activation or channel that prevents it
 */
export function foldEdge(
  edge: ScalableEdge,
  scales: Float32Array,
  weights: ReadonlyMap<string, Tensor<'f32'>>,
): { readonly weights: BlockWeights; readonly inputScales: Map<string, Float32Array> } {
  const { producer, consumers, through } = edge;
  if (through !== undefined && through !== 'relu')
    throw new SchemeError(
      `edge ${edge.id}: between ${producer.module} and ${consumers[0]} is the activation ${through}, which does not commute with a scale (only relu does)`,
    );
  const bad = scales.findIndex((scale) => !(scale > 0 && scale < Number.POSITIVE_INFINITY));
  if (bad >= 0)
    throw new SchemeError(`edge ${edge.id}: the scale of channel ${bad} is ${scales[bad]}; it must be positive`);

  const perProducer = producerScales(edge, scales);
  const changed: BlockWeights = new Map();
  const rows = selectedRows(producer, perProducer.length, `edge ${edge.id}`);
  for (const part of ['weight', 'bias']) {
    const name = `${producer.module}.${part}`;
    const found = weights.get(name);
    if (!found) {
      if (part === 'weight') throw new ShapeError(`edge ${edge.id}: there is no tensor ${name}`);
      continue;
    }
    const width = found.shape.length === 2 ? found.shape[1] : 1;
    const data = found.data.slice();
    const offset = part === 'weight' ? producer.gainOffset : undefined;
    for (const [channel, row] of rows.entries()) {
      const scale = perProducer[channel];
      for (let i = row * width; i < (row + 1) * width; i++)
        data[i] = offset === undefined ? data[i] / scale : (data[i] + offset) / scale - offset;
    }
    changed.set(name, tensor('f32', found.shape, data));
  }
  const inverse = scales.map((scale) => 1 / scale);
  for (const consumer of consumers) {
    const name = `${consumer}.weight`;
    const found = changed.get(name) ?? weights.get(name);
    if (!found) throw new ShapeError(`edge ${edge.id}: there is no tensor ${name}`);
    changed.set(name, scaleColumns(found, scales, edge.id));
  }
  return { weights: changed, inputScales: new Map(consumers.map((consumer) => [consumer, inverse])) };
}

/** `W diag(s)`. */
export function scaleColumns({ shape, data }: Tensor<'f32'>, scales: Float32Array, what = 'scales'): Tensor<'f32'> {
  const width = shape[shape.length - 1];
  if (width !== scales.length) throw new ShapeError(`${what}: ${scales.length} scales for ${width} columns`);
  const out = new Float32Array(data.length);
  for (let start = 0; start < data.length; start += width)
    for (let j = 0; j < width; j++) out[start + j] = data[start + j] * scales[j];
  return tensor('f32', shape, out);
}

function producerScales(edge: ScalableEdge, scales: Float32Array): Float32Array {
  const channels = edgeChannels(edge, scales.length);
  const out = new Float32Array(scales.length / (edge.repeat?.times ?? 1));
  channels.forEach((channel, j) => {
    if (out[channel] !== 0 && out[channel] !== scales[j])
      throw new SchemeError(
        `edge ${edge.id}: channels ${j} and others read channel ${channel} of ${edge.producer.module} and must share one scale`,
      );
    out[channel] = scales[j];
  });
  return out;
}
