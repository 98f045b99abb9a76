import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Checkpoint } from '@q/checkpoint';
import type { Kernels, LowRankAdapter } from '@q/core';
import { runWindows } from '@q/eval';
import { mergeLowRank } from '@q/qat';
import { createEngine } from '@q/tfjs';

const shared = process.env.QUANT_SHARED;

/** Folders of the tested models, by name. */
export const models: Readonly<Record<string, string>> = {
  demo: fileURLToPath(new URL('../../../packages/cli/demo/model', import.meta.url)),
  ...(shared
    ? Object.fromEntries(['llama-5m', 'gpt2-3m', 'opt-3m'].map((name) => [name, join(shared, 'models', name)]))
    : {}),
};

export const ids = Int32Array.from({ length: 48 }, (_, i) => (i * 37 + 5) % 700);

/** Logits of our own forward pass on one window, with a merged adapter. */
export async function adaptedLogits(
  checkpoint: Checkpoint,
  adapter: LowRankAdapter,
  kernels: Kernels,
): Promise<Float32Array> {
  if (!checkpoint.model) throw checkpoint.unknownArchitecture as Error;
  const engine = await createEngine({ kernels, backend: 'wasm' });
  const weight = async (name: string) => {
    const own = await checkpoint.weight(name);
    const pair = adapter.modules.get(name.replace(/\.weight$/, ''));
    return pair && name.endsWith('.weight') ? mergeLowRank(own, pair, adapter.alpha / adapter.rank) : own;
  };
  const source = await runWindows(checkpoint.model, engine, weight, { ids, count: 1, length: ids.length });
  const values = await source.logits(0, 1);
  await engine.dispose();
  return values;
}

export async function readFloats(path: string): Promise<Float32Array> {
  const bytes = await readFile(path);
  return Float32Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i));
}
