import { createRandom, type ModelDescription, type Runtime } from '@q/core';
import { createEngine, type TfjsEngine } from '@q/tfjs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { headLoss } from './model-loss.js';

let engine: TfjsEngine;
beforeAll(async () => {
  engine = await createEngine({ backend: 'wasm' });
});
afterAll(() => engine.dispose());

it('is the loss of all windows, and its gradient theirs, where their logits are not made at once', async () => {
  const { ops } = engine;
  // 2^19 logits a position: two windows of 3 positions at a time, one in the last turn.
  const [vocabulary, width, length, count] = [2 ** 19, 2, 3, 3];
  const random = createRandom('head loss');
  const normals = (n: number) => Float32Array.from({ length: n }, () => random.normal());
  const positions = count * length;
  const [table, states, taught] = [normals(vocabulary * width), normals(positions * width), normals(positions * width)];
  const ids = Int32Array.from({ length: positions }, () => random.integer(vocabulary));
  const weight = ops.fromF32(table, [vocabulary, width]);
  const model = {
    vocabularySize: vocabulary,
    head: { module: 'head', inFeatures: width, outFeatures: vocabulary },
    logits: <T>({ ops }: Runtime<T>, hidden: T) => ops.linear(hidden, weight as unknown as T),
  } as unknown as ModelDescription;
  const turns: number[][] = [];
  const teacher = (first: number, windows: number) => {
    turns.push([first, windows]);
    const some = taught.slice(first * length * width, (first + windows) * length * width);
    return ops.linear(ops.fromF32(some, [windows * length, width]), weight);
  };
  const { value, gradients } = ops.valueAndGradients(
    ({ hidden }) => {
      const runtime = { ops } as unknown as Runtime<typeof hidden>;
      return headLoss(ops, model, runtime, hidden, { ids, length, weights: { labels: 0.5, teacher: 2 }, teacher });
    },
    { hidden: ops.fromF32(states, [count, length, width]) },
  );
  expect(turns).toEqual([
    [0, 2],
    [2, 1],
  ]);

  // From the definitions, in f64.
  let expected = 0;
  const slopes = new Float64Array(positions * width);
  const logProbabilities = (of: Float32Array, at: number): Float64Array => {
    const logits = new Float64Array(vocabulary);
    for (let v = 0; v < vocabulary; v++)
      for (let i = 0; i < width; i++) logits[v] += of[at * width + i] * table[v * width + i];
    let sum = 0;
    for (let v = 0; v < vocabulary; v++) sum += Math.exp(logits[v]);
    for (let v = 0; v < vocabulary; v++) logits[v] -= Math.log(sum);
    return logits;
  };
  for (let at = 0; at < positions; at++) {
    const [own, theirs] = [logProbabilities(states, at), logProbabilities(taught, at)];
    const next = (at + 1) % length === 0 ? undefined : ids[at + 1];
    const ofLabel = next === undefined ? 0 : 0.5 / (count * (length - 1));
    if (next !== undefined) expected -= ofLabel * own[next];
    for (let v = 0; v < vocabulary; v++) {
      const [q, p] = [Math.exp(own[v]), Math.exp(theirs[v])];
      expected += (2 / positions) * p * (theirs[v] - own[v]);
      const slope = (2 / positions) * (q - p) + ofLabel * (q - (v === next ? 1 : 0));
      for (let i = 0; i < width; i++) slopes[at * width + i] += slope * table[v * width + i];
    }
  }
  // Sums of 2^19 terms in f32.
  expect((await ops.data(value))[0] / expected).toBeCloseTo(1, 3);
  const found = await ops.data(gradients.hidden);
  for (let i = 0; i < found.length; i++) expect(found[i]).toBeCloseTo(slopes[i], 3);
});
