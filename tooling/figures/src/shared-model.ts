import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ModelDescription, Ops, Runtime } from '@q/core';
import { createRuntime, describeModel, forward, loadWeights, runBlock } from '@q/models';
import { openShards } from '@q/safetensors';

/** Folder of the models that PyTorch has measured; undefined if QUANT_SHARED is not set or does not have them. */
export function sharedFolder(...parts: string[]): string | undefined {
  const root = process.env['QUANT_SHARED'];
  const path = root && join(root, ...parts);
  if (path && existsSync(path)) return path;
  console.error(`skipped: QUANT_SHARED has no ${join(...parts)}`);
  return undefined;
}

/** `reference.json` of a shared model. */
export interface Reference {
  readonly windows: number;
  readonly length: number;
  readonly perplexity: number;
  readonly nllFirstWindow: number;
  readonly promptTokens: readonly number[];
  readonly prompt: string;
  readonly greedyTokens: readonly number[];
  /** Norms after the embedding and each block; the last one is after the final norm. */
  readonly hiddenNorms: readonly number[];
}

export interface LoadedModel<T> {
  readonly model: ModelDescription;
  readonly runtime: Runtime<T>;
  dispose(): void;
}

export async function readJson<V = Record<string, unknown>>(folder: string, name: string): Promise<V> {
  return JSON.parse(await readFile(join(folder, name), 'utf8')) as V;
}

export async function loadFolder<T>(ops: Ops<T>, folder: string): Promise<LoadedModel<T>> {
  const model = describeModel(await readJson(folder, 'config.json'));
  const shards = await openShards(folder);
  const weights = await loadWeights(ops, model, (name) => shards.read(name));
  await shards.close();
  return {
    model,
    runtime: createRuntime(ops, weights),
    dispose() {
      for (const x of new Set(weights.values())) ops.dispose(x);
    },
  };
}

/** The fixed windows `[60, 256]` of a shared model. */
export async function readWindows(folder: string): Promise<Int32Array> {
  const bytes = await readFile(join(folder, 'valid-60x256.u16'));
  return Int32Array.from({ length: bytes.length / 2 }, (_, i) => bytes.readUInt16LE(2 * i));
}

export async function readReferenceLogits(folder: string): Promise<Float32Array> {
  const bytes = await readFile(join(folder, 'logits-valid0-32x4096.f32'));
  return Float32Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i));
}

/** Frobenius norms of the hidden state after the embedding and each block, the last one after the final norm. */
export function hiddenNorms<T>({ model, runtime }: LoadedModel<T>, ids: Int32Array): number[] {
  const { ops } = runtime;
  const norm = (x: T) => Math.sqrt(ops.dataSync(x).reduce((sum, value) => sum + value * value, 0));
  const norms: number[] = [];
  ops.scope(() => {
    let hidden = model.embed(runtime, ids, 1, ids.length);
    norms.push(norm(hidden));
    for (const block of model.blocks) {
      hidden = runBlock(block, runtime, hidden);
      const last = block === model.blocks.at(-1);
      norms.push(norm(last ? model.finalNorm(runtime, hidden) : hidden));
    }
    return [];
  });
  return norms;
}

/** Negative log likelihood of each window, mean over positions 1..length-1, in f64 from the f32 logits. */
export async function windowLosses<T>(
  { model, runtime }: LoadedModel<T>,
  ids: Int32Array,
  length: number,
  batch = 6,
): Promise<number[]> {
  const { ops } = runtime;
  const losses: number[] = [];
  for (let start = 0; start < ids.length; start += batch * length) {
    const part = ids.subarray(start, start + batch * length);
    const handle = forward(model, runtime, part, part.length / length, length);
    const logits = await ops.data(handle);
    ops.dispose(handle);
    for (let window = 0; window < part.length; window += length) {
      let sum = 0;
      for (let position = window; position < window + length - 1; position++) {
        sum += negativeLogLikelihood(
          logits,
          position * model.vocabularySize,
          model.vocabularySize,
          part[position + 1]!,
        );
      }
      losses.push(sum / (length - 1));
    }
  }
  return losses;
}

export function negativeLogLikelihood(logits: Float32Array, start: number, count: number, target: number): number {
  let largest = Number.NEGATIVE_INFINITY;
  for (let i = start; i < start + count; i++) if (logits[i]! > largest) largest = logits[i]!;
  let total = 0;
  for (let i = start; i < start + count; i++) total += Math.exp(logits[i]! - largest);
  return largest + Math.log(total) - logits[start + target]!;
}
