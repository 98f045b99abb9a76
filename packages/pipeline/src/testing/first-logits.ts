import type { Windows } from '@q/calib';
import { openCheckpoint, type QuantizedLayout } from '@q/checkpoint';
import type { Kernels } from '@q/core';
import { runWindows } from '@q/eval';
import { createEngine } from '@q/tfjs';

/** Logits of a folder's model on the first window, `[length, vocabulary]`. */
export async function firstLogits(
  path: string,
  { ids, length }: Windows,
  kernels: Kernels,
  layouts: readonly QuantizedLayout[] = [],
): Promise<Float32Array> {
  const checkpoint = await openCheckpoint(path, layouts);
  const engine = await createEngine({ kernels });
  const { model } = checkpoint;
  if (!model) throw new Error('unknown architecture');
  const window = { count: 1, length, ids: ids.subarray(0, length) };
  const source = await runWindows(model, engine, (name) => checkpoint.weight(name), window);
  const out = await source.logits(0, 1);
  await engine.dispose();
  await checkpoint.close();
  return out;
}

/** `||a - b|| / ||b||` */
export function relativeError(a: Float32Array, b: Float32Array): number {
  let [difference, norm] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    difference += (a[i] - b[i]) ** 2;
    norm += b[i] ** 2;
  }
  return Math.sqrt(difference / norm);
}
