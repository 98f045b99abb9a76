import { kvAttentionConformance, opsConformance, rotaryTable } from '@q/conformance';
import { createRandom, ShapeError } from '@q/core';
import { afterAll, describe, expect, it } from 'vitest';
import { createForwardEngine } from './forward-engine.js';

const levels = (['relaxed', 'simd128'] as const).flatMap((simd) => [1, 3].map((threads) => ({ simd, threads })));

describe.each(levels)('operations, $simd, $threads threads', async ({ simd, threads }) => {
  const engine = await createForwardEngine({ simd, threads });
  afterAll(() => engine.dispose());
  for (const { name, run } of opsConformance) it(name, () => run(engine.ops));

  for (const { name, run } of kvAttentionConformance)
    it(name, () =>
      run(async ({ queries, tokens, heads, scale, reach, ...cache }) => {
        const { ops } = engine;
        const width = heads * cache.headDim;
        const q = ops.fromF32(queries, [1, queries.length / width, width]);
        try {
          if (queries.length !== tokens * width || !ops.attentionOnCodes) throw new ShapeError('no such queries');
          const given = { heads, scale: scale ?? 1 / Math.sqrt(cache.headDim) };
          const mixed = ops.attentionOnCodes(q, cache, { ...given, ...(reach === undefined ? {} : { window: reach }) });
          const out = ops.dataSync(mixed);
          ops.dispose(mixed);
          return out;
        } finally {
          ops.dispose(q);
        }
      }),
    );

  it('hold nothing after a scope', () => {
    const { values } = engine.memory();
    expect(values).toBe(0);
  });
});

const random = createRandom('forward');
const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal());

it('gives the same bytes with one and with four threads, and uses no more memory each time', async () => {
  const engines = [await createForwardEngine({ threads: 1 }), await createForwardEngine({ threads: 4 })];
  const [batch, length, hidden, heads] = [2, 70, 96, 4];
  const inputs = [
    normals(batch * length * hidden),
    normals(hidden),
    normals(3 * hidden * hidden),
    normals(hidden ** 2),
  ];
  const table = rotaryTable(length, hidden / heads, 10000);
  const outputs = engines.map(({ ops, memory }) => {
    const weights = [ops.fromF32(inputs[2], [3 * hidden, hidden]), ops.fromF32(inputs[3], [hidden, hidden])];
    const pass = () => {
      const y = ops.scope(() => {
        const x = ops.fromF32(inputs[0], [batch, length, hidden]);
        const normed = ops.rmsNorm(x, ops.fromF32(inputs[1], [hidden]), 1e-5);
        const [q, k, v] = ops.split(ops.linear(normed, weights[0]), [hidden, hidden, hidden]);
        const mixed = ops.attention({
          ...{ q: ops.rotary(q, heads, table), k: ops.rotary(k, heads, table), v, heads },
          ...{ kvHeads: heads, headDim: hidden / heads, scale: 0.2 },
        });
        return ops.add(x, ops.activation('silu', ops.linear(mixed, weights[1])));
      });
      const data = ops.dataSync(y);
      ops.dispose(y);
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

it('frees what a failed scope has made', async () => {
  const engine = await createForwardEngine({ threads: 1 });
  const attempt = () =>
    engine.ops.scope(() => {
      const x = engine.ops.fromF32(normals(8), [2, 4]);
      return engine.ops.linear(x, engine.ops.fromF32(normals(6), [2, 3]));
    });
  expect(attempt).toThrow('does not fit');
  expect(engine.memory()).toEqual({ values: 0, bytes: 0 });
  await engine.dispose();
});

it('keeps a weight in panels alone, and gives its values back when they are asked for', async () => {
  const engine = await createForwardEngine({ threads: 1 });
  const { ops, memory } = engine;
  // No whole number of panels, nor of blocks along the depth.
  const [n, k] = [21, 300];
  const data = normals(n * k);
  const weight = ops.fromF32(data, [n, k]);
  const before = memory().bytes;
  const x = ops.fromF32(normals(k), [1, k]);
  const y = ops.linear(x, weight);
  for (const each of [x, y]) ops.dispose(each);
  expect(memory().bytes).toBeLessThanOrEqual(before + 3 * 4 * k);
  expect(ops.dataSync(weight)).toEqual(data);
  ops.dispose(weight);
  expect(memory()).toEqual({ values: 0, bytes: 0 });
  await engine.dispose();
});
