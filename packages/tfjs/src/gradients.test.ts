import type { DifferentiableOps } from '@q/core';
import { bruteForce as brute } from '@q/core/conformance';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { TfjsEngine } from './engine.js';
import type { Handle } from './handle.js';
import { createEngine } from './node-engine.js';
import { testedBackends } from './testing/backends.js';
import { largestDifference, normals } from './testing/values.js';

type Arrays = Record<string, readonly number[]>;

/** Central differences of an f64 function, which shares no code with the engine. */
function finiteDifferences(f: (variables: Arrays) => number, variables: Arrays): Arrays {
  const step = 1e-5;
  return Object.fromEntries(
    Object.entries(variables).map(([name, values]) => [
      name,
      values.map((value, index) => {
        const at = (x: number) => f({ ...variables, [name]: values.with(index, x) });
        return (at(value + step) - at(value - step)) / (2 * step);
      }),
    ]),
  );
}

interface Case {
  readonly name: string;
  readonly variables: Record<string, { readonly shape: readonly number[] }>;
  engine(ops: DifferentiableOps<Handle>, v: Readonly<Record<string, Handle>>): Handle;
  exact(v: Arrays): readonly number[];
}

const attentionCase = { batch: 2, length: 4, heads: 4, kvHeads: 2, headDim: 4, scale: 0.5 };

const cases: readonly Case[] = [
  {
    name: 'linear with bias',
    variables: { x: { shape: [2, 3, 5] }, w: { shape: [4, 5] }, b: { shape: [4] } },
    engine: (ops, { x, w, b }) => ops.linear(x!, w!, b!),
    exact: ({ x, w, b }) => brute.linear(x!, w!, b!, 5),
  },
  {
    name: 'rmsNorm',
    variables: { x: { shape: [2, 2, 6] }, g: { shape: [6] } },
    engine: (ops, { x, g }) => ops.rmsNorm(x!, g!, 1e-5),
    exact: ({ x, g }) => brute.normalize(x!, g!, undefined, 1e-5, false),
  },
  {
    name: 'layerNorm',
    variables: { x: { shape: [2, 2, 6] }, g: { shape: [6] }, b: { shape: [6] } },
    engine: (ops, { x, g, b }) => ops.layerNorm(x!, g!, b!, 1e-5),
    exact: ({ x, g, b }) => brute.normalize(x!, g!, b!, 1e-5, true),
  },
  ...(['relu', 'silu', 'gelu', 'geluTanh', 'sigmoid'] as const).map((kind) => ({
    name: kind,
    variables: { x: { shape: [1, 3, 8] } },
    engine: (ops: DifferentiableOps<Handle>, { x }: Readonly<Record<string, Handle>>) => ops.activation(kind, x!),
    exact: ({ x }: Arrays) => x!.map(brute.activations[kind]),
  })),
  {
    name: 'attention',
    variables: { q: { shape: [2, 4, 16] }, k: { shape: [2, 4, 8] }, v: { shape: [2, 4, 8] } },
    engine: (ops, { q, k, v }) => ops.attention({ ...attentionCase, q: q!, k: k!, v: v! }),
    exact: ({ q, k, v }) => brute.attention(q!, k!, v!, attentionCase),
  },
  {
    name: 'rotary',
    variables: { x: { shape: [1, 3, 8] } },
    engine: (ops, { x }) => {
      const cos = Float32Array.of(1, 1, Math.cos(1), Math.cos(0.01), Math.cos(2), Math.cos(0.02));
      const sin = Float32Array.of(0, 0, Math.sin(1), Math.sin(0.01), Math.sin(2), Math.sin(0.02));
      return ops.rotary(x!, 2, { cos, sin, positions: 3, headDim: 4 });
    },
    exact: ({ x }) => brute.rotary(x!, 3, 2, 4, 10000),
  },
  {
    name: 'transpose',
    variables: { x: { shape: [2, 3, 4] } },
    engine: (ops, { x }) => ops.transpose(x!),
    exact: ({ x }) => x!.map((_, i) => x![12 * Math.floor(i / 12) + 4 * (i % 3) + (Math.floor(i / 3) % 4)]!),
  },
  {
    name: 'embed with repeated ids',
    variables: { table: { shape: [5, 3] } },
    engine: (ops, { table }) => ops.embed(table!, Int32Array.of(1, 4, 1, 0), 2, 2),
    exact: ({ table }) => [1, 4, 1, 0].flatMap((id) => table!.slice(id * 3, id * 3 + 3)),
  },
  {
    name: 'softmax',
    variables: { x: { shape: [2, 3, 5] } },
    engine: (ops, { x }) => ops.softmax(x!),
    exact: ({ x }) => brute.softmax(x!, 5),
  },
  {
    name: 'scatterRows with repeated and absent ids',
    variables: { x: { shape: [4, 3] } },
    engine: (ops, { x }) => ops.scatterRows(x!, Int32Array.of(4, 0, 4, 2), 6),
    exact: ({ x }) => brute.scatterRows(x!, [4, 0, 4, 2], 6, 3),
  },
  {
    name: 'mul by a column',
    variables: { x: { shape: [4, 3] }, w: { shape: [4, 1] } },
    engine: (ops, { x, w }) => ops.mul(x!, w!),
    exact: ({ x, w }) => x!.map((value, i) => value * w![Math.floor(i / 3)]!),
  },
  {
    name: 'split, rows, add, mul, scale',
    variables: { x: { shape: [4, 6] } },
    engine: (ops, { x }) => {
      const [a, b] = ops.split(ops.rows(x!, 1, 2), [3, 3]) as [Handle, Handle];
      return ops.scale(ops.mul(ops.add(a, b), b), 3);
    },
    exact: ({ x }) =>
      [1, 2].flatMap((row) =>
        [0, 1, 2].map((j) => (x![row * 6 + j]! + x![row * 6 + 3 + j]!) * x![row * 6 + 3 + j]! * 3),
      ),
  },
  {
    name: 'sub and div with broadcasting, abs',
    variables: { a: { shape: [3, 4] }, b: { shape: [3, 1] }, c: { shape: [4] } },
    engine: (ops, { a, b, c }) =>
      ops.div(ops.sub(ops.abs(a!), b!), ops.add(ops.abs(c!), ops.fromF32(Float32Array.of(1), []))),
    exact: ({ a, b, c }) => a!.map((x, i) => (Math.abs(x) - b![Math.floor(i / 4)]!) / (Math.abs(c![i % 4]!) + 1)),
  },
  {
    name: 'clip',
    variables: { x: { shape: [2, 9] } },
    engine: (ops, { x }) => ops.clip(x!, -0.7, 0.4),
    exact: ({ x }) => x!.map((value) => Math.min(0.4, Math.max(-0.7, value))),
  },
];

describe.each(testedBackends)('gradients on %s', (backend) => {
  let engine: TfjsEngine;
  let ops: DifferentiableOps<Handle>;
  beforeAll(async () => {
    engine = await createEngine({ backend });
    ops = engine.ops;
  });
  afterAll(() => engine.dispose());

  function check(
    variables: Case['variables'],
    f: (v: Readonly<Record<string, Handle>>) => Handle,
    exact: (v: Arrays) => number,
  ) {
    const values: Arrays = Object.fromEntries(
      Object.entries(variables).map(([name, { shape }]) => [
        name,
        normals(
          shape.reduce((a, b) => a * b),
          name,
        ),
      ]),
    );
    const held = engine.memory().tensors;
    const handles = Object.fromEntries(
      Object.entries(variables).map(([name, { shape }]) => [
        name,
        ops.fromF32(Float32Array.from(values[name]!), shape),
      ]),
    );
    const { value, gradients } = ops.valueAndGradients(f, handles);
    expect(Math.abs(ops.dataSync(value)[0]! - exact(values))).toBeLessThan(2e-5);
    const expected = finiteDifferences(exact, values);
    for (const name of Object.keys(variables)) {
      expect(ops.shape(gradients[name]!)).toEqual(variables[name]!.shape);
      expect(largestDifference(ops.dataSync(gradients[name]!), expected[name]!), name).toBeLessThan(2e-5);
    }
    for (const x of [value, ...Object.values(gradients), ...Object.values(handles)]) ops.dispose(x);
    return held;
  }

  it.each(cases)('$name', (c) => {
    const weigh = (count: number) => normals(count, 'weights');
    check(
      c.variables,
      (v) => {
        const y = c.engine(ops, v);
        const size = ops.shape(y).reduce((a, b) => a * b);
        const flat = ops.reshape(y, [1, size]);
        // A weighted sum, so that no symmetry hides a wrong gradient.
        return ops.reshape(ops.linear(flat, ops.fromF32(Float32Array.from(weigh(size)), [1, size])), []);
      },
      (v) => c.exact(v).reduce((sum, y, i, all) => sum + y * weigh(all.length)[i]!, 0),
    );
  });

  it('cross entropy', () => {
    const targets = [3, -1, 6, 0];
    check(
      { logits: { shape: [4, 7] } },
      ({ logits }) => ops.crossEntropy(logits!, Int32Array.from(targets)),
      ({ logits }) => brute.crossEntropy(logits!, targets, 7),
    );
  });

  it('KL divergence to a teacher', () => {
    const teacher = normals(28, 'teacher').map((x) => 2 * x);
    check(
      { logits: { shape: [4, 7] } },
      ({ logits }) => ops.klDivergence(logits!, ops.fromF32(Float32Array.from(teacher), [4, 7])),
      ({ logits }) => brute.klDivergence(logits!, teacher, 7),
    );
    const [a, b] = [ops.fromF32(new Float32Array(6), [2, 3]), ops.fromF32(new Float32Array(8), [2, 4])];
    expect(() => ops.klDivergence(a, b)).toThrow(/one vocabulary/);
    for (const x of [a, b]) ops.dispose(x);
  });

  it('round is straight-through, rowMax a constant', () => {
    const x = ops.fromF32(Float32Array.of(0.5, 1.5, 2.6, -0.5, -1.4, 3), [2, 3]);
    const weights = ops.fromF32(Float32Array.of(1, 2, 3, 4, 5, 6), [2, 3]);
    expect([...ops.dataSync(ops.round(x))].map((v) => v + 0)).toEqual([0, 2, 3, 0, -1, 3]);
    expect([...ops.dataSync(ops.rowMax(x))].map(Math.fround)).toEqual([Math.fround(2.6), 3]);
    const { gradients } = ops.valueAndGradients(
      (v) => ops.sum(ops.mul(ops.mul(ops.round(v['x']!), weights), ops.rowMax(v['x']!))),
      { x },
    );
    const expected = [1, 2, 3].map((w) => Math.fround(2.6 * w)).concat([12, 15, 18]);
    expect(largestDifference(ops.dataSync(gradients['x']!), expected)).toBeLessThan(1e-5);
    for (const each of [x, weights, gradients['x']!]) ops.dispose(each);
  });

  it('a value that is gone when the backward pass comes to it is not needed', () => {
    const x = ops.fromF32(Float32Array.of(1, 3, 2, 5, 4, 6), [2, 3]);
    const { value, gradients } = ops.valueAndGradients(
      (v) => ops.sum(ops.scope(() => ops.mul(v['x']!, ops.rowMax(ops.round(ops.scale(v['x']!, 2)))))),
      { x },
    );
    expect([...ops.dataSync(value)]).toEqual([6 * 6 + 15 * 12]);
    expect([...ops.dataSync(gradients['x']!)]).toEqual([6, 6, 6, 12, 12, 12]);
    for (const each of [x, value, gradients['x']!]) ops.dispose(each);
  });

  it('attention over more scores than are computed at once, along one direction', () => {
    const c = { batch: 2, length: 600, heads: 4, kvHeads: 2, headDim: 2, scale: 0.7 };
    const shapes = { q: [2, 600, 8], k: [2, 600, 4], v: [2, 600, 4] };
    const size = 2 * 600 * 8;
    const weights = normals(size, 'weights');
    const names = ['q', 'k', 'v'] as const;
    const values = names.map((name) =>
      normals(
        shapes[name].reduce((a, b) => a * b),
        name,
      ),
    );
    const direction = names.map((name, i) => normals(values[i]!.length, `towards ${name}`));
    const at = (step: number) => {
      const [q, k, v] = values.map((x, i) => x.map((value, j) => value + step * direction[i]![j]!));
      return brute.attention(q!, k!, v!, c).reduce((sum, y, i) => sum + y * weights[i]!, 0);
    };
    const handles = Object.fromEntries(
      names.map((name, i) => [name, ops.fromF32(Float32Array.from(values[i]!), shapes[name])]),
    );
    const { gradients } = ops.valueAndGradients(({ q, k, v }) => {
      const y = ops.reshape(ops.attention({ ...c, q: q!, k: k!, v: v! }), [1, size]);
      return ops.reshape(ops.linear(y, ops.fromF32(Float32Array.from(weights), [1, size])), []);
    }, handles);
    const along = names.reduce((sum, name, i) => {
      const gradient = ops.dataSync(gradients[name]!);
      return sum + direction[i]!.reduce((dot, d, j) => dot + d * gradient[j]!, 0);
    }, 0);
    const expected = (at(1e-5) - at(-1e-5)) / 2e-5;
    expect(Math.abs(along / expected - 1)).toBeLessThan(1e-4);
    for (const x of [...Object.values(handles), ...Object.values(gradients)]) ops.dispose(x);
  });

  it('a variable that is not used has gradient zero', () => {
    const [a, b] = [ops.fromF32(Float32Array.of(2), []), ops.fromF32(Float32Array.of(5, 5), [2])];
    const { gradients } = ops.valueAndGradients(({ used }) => ops.mul(used!, used!), { used: a, unused: b });
    expect([...ops.dataSync(gradients['used']!)]).toEqual([4]);
    expect([...ops.dataSync(gradients['unused']!)]).toEqual([0, 0]);
    expect(() => ops.valueAndGradients(({ unused }) => unused!, { unused: b })).toThrow(/needs a scalar/);
  });
});
