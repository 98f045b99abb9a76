import { createHash } from 'node:crypto';
import type { DifferentiableOps, Random } from '@q/core';
import { createRandom } from '@q/core';
import { createEngine } from '@q/tfjs';
import { describe, expect, it, vi } from 'vitest';

type Ops<T> = DifferentiableOps<T>;

function normals<T>(ops: Ops<T>, random: Random, shape: readonly number[]): T {
  const count = shape.reduce((a, b) => a * b, 1);
  return ops.fromF32(
    Float32Array.from({ length: count }, () => random.normal()),
    shape,
  );
}

/** Gradients of a small network with every kind of operation in it, as one hash or as values. */
function trainingStep<T>(ops: Ops<T>): Float32Array[] {
  const random = createRandom('native');
  const variables = {
    x: normals(ops, random, [2, 128, 64]),
    gain: normals(ops, random, [64]),
    up: normals(ops, random, [192, 64]),
    head: normals(ops, random, [512, 192]),
  };
  const targets = Int32Array.from({ length: 256 }, (_, i) => (i * 31) % 512);
  const { value, gradients } = ops.valueAndGradients(({ x, gain, up, head }) => {
    const h = ops.rmsNorm(x as T, gain as T, 1e-5);
    const mixed = ops.add(h, ops.attention({ q: h, k: h, v: h, heads: 4, kvHeads: 4, headDim: 16, scale: 0.25 }));
    const wide = ops.activation('silu', ops.linear(mixed, up as T));
    return ops.crossEntropy(ops.reshape(ops.linear(wide, head as T), [256, 512]), targets);
  }, variables);
  const results = [value, ...Object.values(gradients)];
  const values = results.map((x) => ops.dataSync(x).slice());
  for (const x of [...results, ...Object.values(variables)]) ops.dispose(x);
  return values;
}

function hash(values: readonly Float32Array[]): string {
  const sum = createHash('sha256');
  for (const { buffer } of values) sum.update(new Uint8Array(buffer));
  return sum.digest('hex');
}

describe('tfjs-node', () => {
  it('is found in the cache by automatic choice, and says nothing on the console', async () => {
    const said = [vi.spyOn(console, 'warn'), vi.spyOn(console, 'log')];
    // The other backends first: the copies of tfjs-core then meet in one process.
    await createEngine({ backend: 'cpu' });
    const wasm = await createEngine({ backend: 'wasm' });
    const engine = await createEngine();
    expect(engine.name).toBe('tfjs-node');
    expect(engine.notes[0]).toBe('node: the first backend that started');
    const others = trainingStep(wasm.ops);
    const differences = trainingStep(engine.ops).map((values, i) => {
      const expected = others[i] as Float32Array;
      const scale = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      return values.reduce((most, value, j) => Math.max(most, Math.abs(value - (expected[j] as number))), 0) / scale;
    });
    for (const difference of differences) expect(difference).toBeLessThan(2e-5);
    for (const spy of said) expect(spy.mock.calls).toEqual([]);
  });

  it('gives the same bytes each time', async () => {
    const hashes = new Set<string>();
    for (let engines = 0; engines < 2; engines++) {
      const { ops } = await createEngine({ backend: 'node' });
      for (let i = 0; i < 3; i++) hashes.add(hash(trainingStep(ops)));
    }
    expect(hashes.size).toBe(1);
  });

  it('holds no memory after steps of training', async () => {
    const engine = await createEngine({ backend: 'node' });
    const steps = (count: number) => {
      for (let i = 0; i < count; i++) trainingStep(engine.ops);
    };
    steps(20);
    const [tensors, resident] = [engine.memory(), process.memoryUsage.rss()];
    steps(60);
    expect(engine.memory()).toEqual(tensors);
    // A step passes through about 10 MB of tensors: one that stayed would show as 60 times its size.
    expect(process.memoryUsage.rss() - resident).toBeLessThan(60e6);
  });

  it('says that the first engine of a process has decided the threads', async () => {
    const { notes } = await createEngine({ backend: 'node', threads: 63 });
    expect(notes.join()).toContain('63 threads were requested');
  });
});
