import { describe, expect, it } from 'vitest';
import type { ForwardEngine, Ops } from '../contracts/ops.js';
import { referenceKernels } from '../kernels/reference.js';
import { countedEngine, countedKernels } from './counted-kernels.js';
import { createProfile, noProfile } from './profile.js';

/** A clock that stands still unless it is told to go on. */
function clock() {
  let at = 0;
  return { now: () => at, pass: (milliseconds: number) => void (at += milliseconds) };
}

describe('createProfile', () => {
  it('gives each stage its own time: what runs inside is taken away', async () => {
    const { now, pass } = clock();
    const profile = createProfile(now);
    pass(500);
    await profile.stage('walk', async () => {
      pass(125);
      await profile.stage('forward', () => pass(1000));
      pass(250);
      await profile.stage('forward', async () => {
        pass(500);
        await profile.stage('gram', () => pass(4000));
      });
    });
    pass(700);
    expect(profile.stages).toEqual([
      { stage: 'walk', seconds: 0.375, calls: 1, operations: 0 },
      { stage: 'forward', seconds: 1.5, calls: 2, operations: 0 },
      { stage: 'gram', seconds: 4, calls: 1, operations: 0 },
    ]);
  });

  it('gives back what the work gives, and ends a stage whose work fails', async () => {
    const { now, pass } = clock();
    const profile = createProfile(now);
    const failing = profile.stage('broken', () => {
      pass(125);
      throw new Error('as it is');
    });
    await expect(failing).rejects.toThrow('as it is');
    expect(await profile.stage('next', async () => 7)).toBe(7);
    pass(125);
    expect(profile.stages.map(({ seconds }) => seconds)).toEqual([0.125, 0]);
    expect(await noProfile.stage('any', () => 3)).toBe(3);
  });

  it('counts operations for the innermost stage, and none outside of all', async () => {
    const profile = createProfile();
    profile.count(1);
    await profile.stage('outer', async () => {
      profile.count(10);
      await profile.stage('inner', () => profile.count(100));
    });
    expect(profile.stages.map(({ operations }) => operations)).toEqual([10, 100]);
  });
});

it('kernels are counted by what has to be computed, and give the same', async () => {
  const profile = createProfile();
  const kernels = countedKernels(referenceKernels, profile);
  const [a, b] = [Float32Array.of(1, 2, 3, 4, 5, 6), Float32Array.of(1, 0, 0, 1, 1, 1)];
  await profile.stage('product', async () => {
    expect([...(await kernels.matmul({ a, b, m: 2, n: 2, k: 3 }))]).toEqual([4, 5, 10, 11]);
  });
  await profile.stage('gram', () => kernels.gram({ x: a, tokens: 3, width: 2, out: new Float64Array(4) }));
  await profile.stage('factor', () => kernels.cholesky({ a: Float64Array.of(4, 0, 0, 9), n: 2, form: 'lower' }));
  expect(profile.stages.map(({ operations }) => operations)).toEqual([24, 12, 8 / 3]);
});

it('an engine is counted by its linears and the keys that queries see', async () => {
  const profile = createProfile();
  const ops = {
    shape: (x: readonly number[]) => x,
    linear: () => [] as readonly number[],
    attention: () => [] as readonly number[],
  } as unknown as Ops<readonly number[]>;
  const engine = countedEngine({ ops } as ForwardEngine<readonly number[]>, profile);
  const sequence = { q: [2, 3, 8], k: [2, 3, 8], v: [2, 3, 8], heads: 1, kvHeads: 1, headDim: 8, scale: 1 } as const;
  await profile.stage('linear', () => engine.ops.linear([2, 5, 4], [6, 4]));
  await profile.stage('causal', () => engine.ops.attention(sequence));
  await profile.stage('both ways', () => engine.ops.attention({ ...sequence, causal: false }));
  await profile.stage('window', () => engine.ops.attention({ ...sequence, window: 1 }));
  expect(profile.stages.map(({ operations }) => operations)).toEqual([480, 384, 576, 192]);
});
