import type { ModelDescription, Ops, Rewrite, RuntimeWrapper, Tensor, WeightSource } from '@q/core';
import { createContext, tensor, toF32 } from '@q/core';
import { createRuntime, describeModel, forward, wrapRuntime } from '@q/models';

export type Config = Readonly<Record<string, unknown>>;

/** A model in memory: `[out, in]`, tied names resolved. */
export function sourceOf(model: ModelDescription, read: (name: string) => Tensor | Promise<Tensor>): WeightSource {
  const transposed = new Set(
    model.blocks.flatMap(({ linears }) => linears.filter((l) => l.transposed).map((l) => `${l.module}.weight`)),
  );
  return {
    async weight(name) {
      const stored = await read(model.ties.get(name) ?? name);
      const values = tensor('f32', stored.shape, toF32(stored));
      return transposed.has(name) ? transpose(values) : values;
    },
  };
}

function transpose({ shape: [rows, columns], data }: Tensor<'f32'>): Tensor<'f32'> {
  const out = data.map((_, i) => data[(i % rows) * columns + Math.floor(i / rows)]);
  return tensor('f32', [columns, rows], out);
}

/** Token ids, `[batch, length]`. */
interface TokenBatch {
  readonly ids: Int32Array;
  readonly batch: number;
}

/** Logits of a model whose weights come from `source`, `[batch * length, vocabulary]`. */
export async function logitsOf<T>(
  model: ModelDescription,
  source: WeightSource,
  ops: Ops<T>,
  { ids, batch }: TokenBatch,
  wrappers: readonly RuntimeWrapper<T>[] = [],
): Promise<Float32Array> {
  const weights = new Map<string, T>();
  for (const name of model.expected.keys()) weights.set(name, ops.keep(ops.fromTensor(await source.weight(name))));
  const runtime = wrappers.reduce(wrapRuntime, createRuntime(ops, weights, { ties: model.ties }));
  const handle = forward(model, runtime, ids, batch, ids.length / batch);
  const logits = await ops.data(handle);
  ops.dispose(handle);
  for (const weight of weights.values()) ops.dispose(weight);
  return logits;
}

/** The model after a rewrite: the description from the patched config, and its weights. */
export function rewrite(config: Config, source: WeightSource, rewrite: Rewrite, seed = 0) {
  const model = describeModel(config);
  const rewritten = rewrite.apply(model, source, createContext({ seed }));
  return { rewritten, model: describeModel({ ...config, ...rewritten.config }) };
}

/** Norm of the difference over the norm of the reference. */
export function relativeDifference(actual: Float32Array, reference: Float32Array): number {
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < reference.length; i++) {
    difference += (actual[i] - reference[i]) ** 2;
    norm += reference[i] ** 2;
  }
  return Math.sqrt(difference / norm);
}
