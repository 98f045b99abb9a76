import type { Windows } from '@q/calib';
import {
  createRandom,
  dequantize,
  type Engine,
  type ModelDescription,
  minMax,
  quantize,
  type Scheme,
  type Tensor,
  tensor,
} from '@q/core';
import { createRuntime, wrapRuntime } from '@q/models';

export type Choice = 'activation' | 'weight' | 'random';

/** Mean `|x_j|` of every linear's inputs over the windows, in the unquantized model. */
export async function channelMagnitudes<T>(
  model: ModelDescription,
  engine: Engine<T>,
  read: (name: string) => Promise<Tensor<'f32'>>,
  windows: Windows,
): Promise<ReadonlyMap<string, Float64Array>> {
  const { ops } = engine;
  const weights = new Map<string, T>();
  for (const name of [...model.embeddingTensors, ...model.blocks.flatMap(({ tensors }) => tensors)])
    weights.set(name, ops.fromTensor(await read(name)));
  const sums = new Map<string, Float64Array>();
  const runtime = wrapRuntime(createRuntime(ops, weights, { ties: model.ties }), {
    linear(module, x, inner) {
      const data = ops.dataSync(x);
      const shape = ops.shape(x);
      const width = shape[shape.length - 1];
      const sum = sums.get(module) ?? new Float64Array(width);
      for (let i = 0, j = 0; i < data.length; i++, j = j + 1 === width ? 0 : j + 1) sum[j] += Math.abs(data[i]);
      sums.set(module, sum);
      return inner(module, x);
    },
  });
  const batch = 8;
  for (let start = 0; start < windows.count; start += batch) {
    const size = Math.min(batch, windows.count - start);
    const ids = windows.ids.subarray(start * windows.length, (start + size) * windows.length);
    ops.scope(() => {
      let hidden = model.embed(runtime, ids, size, windows.length);
      for (const block of model.blocks) {
        let state = block.begin(runtime, hidden);
        for (const stage of block.stages) state = stage.run(runtime, state);
        hidden = state.residual;
      }
      return [];
    });
  }
  for (const handle of weights.values()) ops.dispose(handle);
  const tokens = windows.count * windows.length;
  for (const sum of sums.values()) for (let j = 0; j < sum.length; j++) sum[j] /= tokens;
  return sums;
}

/** The share of a weight's input channels (at least one) that a criterion ranks first. */
export function chooseChannels(
  choice: Choice,
  share: number,
  weight: Float32Array,
  magnitudes: Float64Array,
  seed: string,
): number[] {
  const width = magnitudes.length;
  const random = createRandom(seed);
  const scores = Float64Array.from({ length: width }, (_, j) => {
    if (choice === 'activation') return magnitudes[j];
    if (choice === 'random') return random.uniform();
    let sum = 0;
    for (let i = j; i < weight.length; i += width) sum += weight[i] ** 2;
    return sum;
  });
  const order = Array.from({ length: width }, (_, j) => j).sort((a, b) => scores[b] - scores[a]);
  return order.slice(0, Math.max(1, Math.round(share * width)));
}

const round = (weight: Float32Array, width: number, scheme: Scheme) =>
  dequantize(quantize(tensor('f32', [weight.length / width, width], weight), scheme, { fit: minMax() })).data;

/** Rounds a weight, except the columns of some input channels, which are kept. */
export function keepChannels(
  weight: Float32Array,
  width: number,
  channels: readonly number[],
  scheme: Scheme,
): Float32Array {
  const out = round(weight, width, scheme);
  for (const j of channels) for (let i = j; i < out.length; i += width) out[i] = weight[i];
  return out;
}

/**
 * Rounds a weight; the columns of some input channels are multiplied by `factor` before, and divided by it afterwards.
 */
export function scaleChannels(
  weight: Float32Array,
  width: number,
  channels: readonly number[],
  factor: number,
  scheme: Scheme,
): Float32Array {
  const scaled = weight.slice();
  for (const j of channels) for (let i = j; i < scaled.length; i += width) scaled[i] *= factor;
  const out = round(scaled, width, scheme);
  for (const j of channels) for (let i = j; i < out.length; i += width) out[i] /= factor;
  return out;
}
