import { gradientConformance, opsConformance, rotaryTable } from '@q/conformance';
import { createRandom } from '@q/core';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { createTrainingEngine } from './training-engine.js';

const levels = (['relaxed', 'simd128'] as const).flatMap((simd) => [1, 3].map((threads) => ({ simd, threads })));

describe.each(levels)('gradients, $simd, $threads threads', async ({ simd, threads }) => {
  const engine = await createTrainingEngine({ simd, threads });
  afterAll(() => engine.dispose());
  afterEach(() => expect(engine.memory().values).toBe(0));
  for (const { name, run } of opsConformance) it(name, () => run(engine.ops));
  for (const { name, run } of gradientConformance) it(name, () => run(engine.ops));
});

const random = createRandom('training');
const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal());

it('gives the same bytes with one and with four threads, and uses no more memory each time', async () => {
  const engines = [await createTrainingEngine({ threads: 1 }), await createTrainingEngine({ threads: 4 })];
  const [batch, length, hidden, heads] = [2, 70, 96, 4];
  const inputs = {
    ...{ x: normals(batch * length * hidden), gain: normals(hidden) },
    ...{ qkv: normals(3 * hidden * hidden), out: normals(hidden ** 2), frozen: normals(hidden ** 2) },
  };
  const table = rotaryTable(length, hidden / heads, 10000);
  const outputs = engines.map(({ ops, memory }) => {
    const frozen = ops.fromF32(inputs.frozen, [hidden, hidden]);
    const pass = () => {
      const variables = {
        qkv: ops.fromF32(inputs.qkv, [3 * hidden, hidden]),
        out: ops.fromF32(inputs.out, [hidden, hidden]),
        gain: ops.fromF32(inputs.gain, [hidden]),
      };
      const x = ops.fromF32(inputs.x, [batch, length, hidden]);
      const { value, gradients } = ops.valueAndGradients((v) => {
        const normed = ops.rmsNorm(x, v.gain, 1e-5);
        const [q, k, values] = ops.split(ops.linear(normed, v.qkv), [hidden, hidden, hidden]);
        const mixed = ops.attention({
          ...{ q: ops.rotary(q, heads, table), k: ops.rotary(k, heads, table), v: values, heads },
          ...{ kvHeads: heads, headDim: hidden / heads, scale: 0.2 },
        });
        const y = ops.add(x, ops.linear(ops.activation('silu', ops.linear(mixed, v.out)), frozen));
        return ops.sum(ops.mul(y, y));
      }, variables);
      const data = [value, ...Object.values(gradients)].map((each) => ops.dataSync(each));
      for (const each of [x, value, ...Object.values(gradients), ...Object.values(variables)]) ops.dispose(each);
      return data;
    };
    const first = pass();
    const before = memory();
    expect(pass()).toEqual(first);
    expect(memory()).toEqual(before);
    return first;
  });
  expect(outputs[1]).toEqual(outputs[0]);
  for (const engine of engines) await engine.dispose();
});

it('observes the same bytes before and after tables of positions are there', async () => {
  const engine = await createTrainingEngine({ threads: 1 });
  const { ops } = engine;
  const table = rotaryTable(8, 4, 10000);
  const pass = async () => {
    const x = ops.fromF32(normals(2 * 8 * 8), [2, 8, 8]);
    const { value, gradients } = ops.valueAndGradients(
      (v) => {
        const turned = ops.rotary(v.x, 2, table);
        return ops.sum(ops.mul(turned, turned));
      },
      { x },
    );
    for (const each of [x, value, gradients.x]) ops.dispose(each);
  };
  const observed = [await engine.observeBytes?.(pass), await engine.observeBytes?.(pass)];
  expect(observed[1]).toEqual(observed[0]);
  await engine.dispose();
});

it('frees what a failed differentiation has made', async () => {
  const engine = await createTrainingEngine({ threads: 1 });
  const { ops } = engine;
  const w = ops.fromF32(normals(6), [2, 3]);
  const attempt = () =>
    ops.valueAndGradients(
      (v) => ops.linear(ops.linear(ops.fromF32(normals(6), [2, 3]), v.w), ops.fromF32(normals(6), [2, 3])),
      { w },
    );
  expect(attempt).toThrow('does not fit');
  ops.dispose(w);
  expect(engine.memory()).toEqual({ values: 0, bytes: 0 });
  await engine.dispose();
});

it('counts the bytes that were alive at the most', async () => {
  const engine = await createTrainingEngine({ threads: 1 });
  const { ops } = engine;
  const x = ops.fromF32(normals(1024), [1024]);
  const { before, peak } = await (engine.observeBytes as NonNullable<typeof engine.observeBytes>)(async () => {
    ops.dispose(ops.scope(() => ops.add(ops.add(x, x), x)));
  });
  expect([before, peak]).toEqual([4096, 3 * 4096]);
  ops.dispose(x);
  await engine.dispose();
});
