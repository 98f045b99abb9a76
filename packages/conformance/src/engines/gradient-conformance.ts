/**
 * Checks of the gradients of every engine, as cases that throw. Gradients are compared with central differences of f64
 * forms.
 */
import { createRandom, type DifferentiableOps, ShapeError } from '@q/core';
import * as brute from './brute-force.js';
import { rotaryTable } from './ops-conformance.js';

export interface GradientConformanceCase {
  readonly name: string;
  run<T>(ops: DifferentiableOps<T>): void;
}

type Arrays = Record<string, readonly number[]>;
type Shapes = Record<string, readonly number[]>;
type Handles<T> = Readonly<Record<string, T>>;

/** Standard normal values, exact in f32. */
function normals(count: number, label: string): number[] {
  const random = createRandom(1).fork(label);
  return Array.from({ length: count }, () => Math.fround(random.normal()));
}

const sizeOf = (shape: readonly number[]) => shape.reduce((product, n) => product * n, 1);
const upload = <T>(ops: DifferentiableOps<T>, values: readonly number[], shape: readonly number[]) =>
  ops.fromF32(Float32Array.from(values), shape);

function expectNear(found: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number, what: string): void {
  if (found.length !== expected.length)
    throw new Error(`${what}: ${found.length} values, ${expected.length} were expected`);
  for (let i = 0; i < expected.length; i++)
    if (!(Math.abs(found[i] - expected[i]) <= tolerance))
      throw new Error(`${what}: value ${i} is ${found[i]}, ${expected[i]} was expected`);
}

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

/** Compares a scalar of an engine and its derivatives with those of an f64 function. */
function expectGradients<T>(
  ops: DifferentiableOps<T>,
  shapes: Shapes,
  f: (v: Handles<T>) => T,
  exact: (v: Arrays) => number,
): void {
  const values: Arrays = Object.fromEntries(
    Object.entries(shapes).map(([name, shape]) => [name, normals(sizeOf(shape), name)]),
  );
  const handles = Object.fromEntries(
    Object.entries(shapes).map(([name, shape]) => [name, upload(ops, values[name], shape)]),
  );
  const { value, gradients } = ops.valueAndGradients(f, handles);
  expectNear(ops.dataSync(value), [exact(values)], 2e-5, 'value');
  const expected = finiteDifferences(exact, values);
  for (const [name, shape] of Object.entries(shapes)) {
    const found = gradients[name];
    if (`${ops.shape(found)}` !== `${shape}`)
      throw new Error(`the gradient by ${name} is [${ops.shape(found)}], [${shape}] was expected`);
    expectNear(ops.dataSync(found), expected[name], 2e-5, `gradient by ${name}`);
  }
  for (const x of [value, ...Object.values(gradients), ...Object.values(handles)]) ops.dispose(x);
}

const sinks = [0.3, -1.2, 0.9, 0];
const attentionCase = { batch: 2, length: 4, heads: 4, kvHeads: 2, headDim: 4, scale: 0.5 };

interface Case {
  readonly name: string;
  readonly variables: Shapes;
  engine<T>(ops: DifferentiableOps<T>, v: Handles<T>): T;
  exact(v: Arrays): readonly number[];
}

const cases: readonly Case[] = [
  {
    name: 'linear with bias',
    variables: { x: [2, 3, 5], w: [4, 5], b: [4] },
    engine: (ops, { x, w, b }) => ops.linear(x, w, b),
    exact: ({ x, w, b }) => brute.linear(x, w, b, 5),
  },
  {
    name: 'rmsNorm',
    variables: { x: [2, 2, 6], g: [6] },
    engine: (ops, { x, g }) => ops.rmsNorm(x, g, 1e-5),
    exact: ({ x, g }) => brute.normalize(x, g, undefined, 1e-5, false),
  },
  {
    name: 'layerNorm',
    variables: { x: [2, 2, 6], g: [6], b: [6] },
    engine: (ops, { x, g, b }) => ops.layerNorm(x, g, b, 1e-5),
    exact: ({ x, g, b }) => brute.normalize(x, g, b, 1e-5, true),
  },
  ...(['relu', 'silu', 'gelu', 'geluTanh', 'sigmoid', 'tanh'] as const).map((kind) => ({
    name: kind,
    variables: { x: [1, 3, 8] },
    engine: <T>(ops: DifferentiableOps<T>, { x }: Handles<T>) => ops.activation(kind, x),
    exact: ({ x }: Arrays) => x.map(brute.activations[kind]),
  })),
  {
    name: 'rmsNorm and layerNorm of many features',
    variables: { x: [3, 19], g: [19], b: [19] },
    engine: (ops, { x, g, b }) => ops.rmsNorm(ops.layerNorm(x, g, b, 1e-5), g, 1e-5),
    exact: ({ x, g, b }) => brute.normalize(brute.normalize(x, g, b, 1e-5, true), g, undefined, 1e-5, false),
  },
  {
    name: 'attention',
    variables: { q: [2, 4, 16], k: [2, 4, 8], v: [2, 4, 8] },
    engine: (ops, { q, k, v }) => ops.attention({ ...attentionCase, q, k, v }),
    exact: ({ q, k, v }) => brute.attention({ q, k, v }, attentionCase),
  },
  {
    name: 'attention with limited scores',
    variables: { q: [2, 4, 16], k: [2, 4, 8], v: [2, 4, 8] },
    engine: (ops, { q, k, v }) => ops.attention({ ...attentionCase, softCap: 0.8, q, k, v }),
    exact: ({ q, k, v }) => brute.attention({ q, k, v }, { ...attentionCase, softCap: 0.8 }),
  },
  {
    name: 'attention with sinks that are constants',
    variables: { q: [2, 4, 16], k: [2, 4, 8], v: [2, 4, 8] },
    engine: (ops, { q, k, v }) =>
      ops.attention({ ...attentionCase, window: 3, q, k, v, sinks: upload(ops, sinks, [4]) }),
    exact: ({ q, k, v }) => brute.attention({ q, k, v, sinks }, { ...attentionCase, window: 3 }),
  },
  {
    name: 'rotary of the first features alone',
    variables: { x: [1, 3, 12] },
    engine: (ops, { x }) => ops.rotary(x, 2, rotaryTable(3, 4, 10000)),
    exact: ({ x }) => brute.rotary(x, { length: 3, heads: 2, headDim: 6, theta: 10000, rotated: 4 }),
  },
  {
    name: 'rotary',
    variables: { x: [1, 3, 8] },
    engine: (ops, { x }) => {
      const cos = Float32Array.of(1, 1, Math.cos(1), Math.cos(0.01), Math.cos(2), Math.cos(0.02));
      const sin = Float32Array.of(0, 0, Math.sin(1), Math.sin(0.01), Math.sin(2), Math.sin(0.02));
      return ops.rotary(x, 2, { cos, sin, positions: 3, headDim: 4 });
    },
    exact: ({ x }) => brute.rotary(x, { length: 3, heads: 2, headDim: 4, theta: 10000 }),
  },
  {
    name: 'transpose',
    variables: { x: [2, 3, 4] },
    engine: (ops, { x }) => ops.transpose(x),
    exact: ({ x }) => x.map((_, i) => x[12 * Math.floor(i / 12) + 4 * (i % 3) + (Math.floor(i / 3) % 4)]),
  },
  {
    name: 'embed with repeated ids',
    variables: { table: [5, 3] },
    engine: (ops, { table }) => ops.embed(table, Int32Array.of(1, 4, 1, 0), 2, 2),
    exact: ({ table }) => [1, 4, 1, 0].flatMap((id) => table.slice(id * 3, id * 3 + 3)),
  },
  {
    name: 'softmax',
    variables: { x: [2, 3, 5] },
    engine: (ops, { x }) => ops.softmax(x),
    exact: ({ x }) => brute.softmax(x, 5),
  },
  {
    name: 'scatterRows with repeated and absent ids',
    variables: { x: [4, 3] },
    engine: (ops, { x }) => ops.scatterRows(x, Int32Array.of(4, 0, 4, 2), 6),
    exact: ({ x }) => brute.scatterRows(x, [4, 0, 4, 2], 6, 3),
  },
  {
    name: 'mul by a column',
    variables: { x: [4, 3], w: [4, 1] },
    engine: (ops, { x, w }) => ops.mul(x, w),
    exact: ({ x, w }) => x.map((value, i) => value * w[Math.floor(i / 3)]),
  },
  {
    name: 'split, rows, add, mul, scale',
    variables: { x: [4, 6] },
    engine: (ops, { x }) => {
      const [a, b] = ops.split(ops.rows(x, 1, 2), [3, 3]);
      return ops.scale(ops.mul(ops.add(a, b), b), 3);
    },
    exact: ({ x }) =>
      [1, 2].flatMap((row) => [0, 1, 2].map((j) => (x[row * 6 + j] + x[row * 6 + 3 + j]) * x[row * 6 + 3 + j] * 3)),
  },
  {
    name: 'sub and div with broadcasting, abs',
    variables: { a: [3, 4], b: [3, 1], c: [4] },
    engine: (ops, { a, b, c }) =>
      ops.div(ops.sub(ops.abs(a), b), ops.add(ops.abs(c), ops.fromF32(Float32Array.of(1), []))),
    exact: ({ a, b, c }) => a.map((x, i) => (Math.abs(x) - b[Math.floor(i / 4)]) / (Math.abs(c[i % 4]) + 1)),
  },
  {
    name: 'append',
    variables: { a: [2, 1, 3], b: [2, 2, 3] },
    engine: (ops, { a, b }) => ops.append(a, b),
    exact: ({ a, b }) => [...a.slice(0, 3), ...b.slice(0, 6), ...a.slice(3), ...b.slice(6)],
  },
  {
    name: 'a value used twice, and handed on as it is',
    variables: { x: [2, 5] },
    engine: (ops, { x }) => ops.add(ops.add(ops.reshape(x, [2, 5]), ops.mul(x, x)), ops.reshape(x, [2, 5])),
    exact: ({ x }) => x.map((value) => 2 * value + value * value),
  },
  {
    name: 'clip',
    variables: { x: [2, 9] },
    engine: (ops, { x }) => ops.clip(x, -0.7, 0.4),
    exact: ({ x }) => x.map((value) => Math.min(0.4, Math.max(-0.7, value))),
  },
];

/** The weighted sum of all values. Its weights have no symmetry that could hide a wrong gradient. */
function weighted<T>(ops: DifferentiableOps<T>, y: T): T {
  const size = sizeOf(ops.shape(y));
  return ops.reshape(ops.linear(ops.reshape(y, [1, size]), upload(ops, normals(size, 'weights'), [1, size])), []);
}
const exactlyWeighted = (y: readonly number[]) => {
  const weights = normals(y.length, 'weights');
  return y.reduce((sum, value, i) => sum + value * weights[i], 0);
};

/**
 * Operations with several blocks and panels. They are checked along one direction, because all differences would take
 * too long.
 */
const large: readonly (Case & { readonly tolerance: number })[] = [
  ...[
    { batch: 2, length: 600, heads: 4, kvHeads: 2, headDim: 2, scale: 0.7 },
    { batch: 1, length: 133, heads: 3, kvHeads: 1, headDim: 12, scale: 0.3, window: 37 },
    { batch: 2, length: 75, heads: 2, kvHeads: 2, headDim: 10, scale: 0.3 },
    { batch: 2, length: 75, heads: 2, kvHeads: 1, headDim: 10, scale: 0.3, causal: false, biased: true },
    { batch: 1, length: 133, heads: 2, kvHeads: 2, headDim: 12, scale: 0.3, causal: false, window: 37 },
    { batch: 2, length: 140, heads: 4, kvHeads: 2, headDim: 10, scale: 0.4, window: 70, softCap: 1.2 },
  ].map(({ biased, ...c }: brute.AttentionCase & { readonly biased?: boolean }) => ({
    name: `attention ${JSON.stringify(c)}${biased ? ' with a bias' : ''}`,
    variables: {
      q: [c.batch, c.length, c.heads * c.headDim],
      k: [c.batch, c.length, c.kvHeads * c.headDim],
      v: [c.batch, c.length, c.kvHeads * c.headDim],
    },
    engine<T>(ops: DifferentiableOps<T>, { q, k, v }: Handles<T>) {
      const shape = [c.heads, c.length, c.length];
      return ops.attention({
        ...c,
        q,
        k,
        v,
        ...(biased ? { bias: upload(ops, normals(sizeOf(shape), 'bias'), shape) } : {}),
      });
    },
    exact: ({ q, k, v }: Arrays) =>
      brute.attention({ q, k, v, bias: biased ? normals(c.heads * c.length * c.length, 'bias') : undefined }, c),
    tolerance: 1e-4,
  })),
  {
    name: 'linear 131x300x67',
    variables: { x: [131, 300], w: [67, 300], b: [67] },
    engine: (ops, { x, w, b }) => ops.linear(x, w, b),
    exact: ({ x, w, b }) => brute.linear(x, w, b, 300),
    tolerance: 1e-4,
  },
];

function expectDirection<T>(ops: DifferentiableOps<T>, { variables, engine, exact, tolerance }: (typeof large)[0]) {
  const names = Object.keys(variables);
  const values = Object.fromEntries(names.map((name) => [name, normals(sizeOf(variables[name]), name)]));
  const direction = Object.fromEntries(names.map((name) => [name, normals(values[name].length, `towards ${name}`)]));
  const at = (step: number) =>
    exactlyWeighted(
      exact(Object.fromEntries(names.map((name) => [name, values[name].map((x, i) => x + step * direction[name][i])]))),
    );
  const handles = Object.fromEntries(names.map((name) => [name, upload(ops, values[name], variables[name])]));
  const { value, gradients } = ops.valueAndGradients((v) => weighted(ops, engine(ops, v)), handles);
  const along = names.reduce((sum, name) => {
    const gradient = ops.dataSync(gradients[name]);
    return sum + direction[name].reduce((dot, d, i) => dot + d * gradient[i], 0);
  }, 0);
  const expected = (at(1e-5) - at(-1e-5)) / 2e-5;
  if (!(Math.abs(along / expected - 1) <= tolerance)) throw new Error(`${along} along it, ${expected} was expected`);
  for (const x of [value, ...Object.values(handles), ...Object.values(gradients)]) ops.dispose(x);
}

/** The checks for everything that differentiates. */
export const gradientConformance: readonly GradientConformanceCase[] = [
  ...cases.map(
    (each): GradientConformanceCase => ({
      name: each.name,
      run: (ops) =>
        expectGradients(
          ops,
          each.variables,
          (v) => weighted(ops, each.engine(ops, v)),
          (v) => exactlyWeighted(each.exact(v)),
        ),
    }),
  ),
  ...large.map((each): GradientConformanceCase => ({ name: each.name, run: (ops) => expectDirection(ops, each) })),
  {
    name: 'a frozen weight passes the gradient on',
    run(ops) {
      const [x, w, b] = [normals(15, 'x'), normals(20, 'w'), normals(4, 'b')];
      const [weight, bias] = [upload(ops, w, [4, 5]), upload(ops, b, [4])];
      for (const _ of [1, 2])
        expectGradients(
          ops,
          { x: [3, 5] },
          (v) => weighted(ops, ops.linear(v.x, weight, bias)),
          (v) => exactlyWeighted(brute.linear(v.x, w, b, 5)),
        );
      expectNear(ops.dataSync(weight), w, 0, 'the weight');
      expectGradients(
        ops,
        { w: [4, 5] },
        (v) => weighted(ops, ops.linear(upload(ops, x, [3, 5]), v.w, bias)),
        (v) => exactlyWeighted(brute.linear(x, v.w, b, 5)),
      );
      for (const each of [weight, bias]) ops.dispose(each);
    },
  },
  {
    name: 'cross entropy ignores -1',
    run(ops) {
      const targets = [3, -1, 6, 0];
      expectGradients(
        ops,
        { logits: [4, 7] },
        ({ logits }) => ops.crossEntropy(logits, Int32Array.from(targets)),
        ({ logits }) => brute.crossEntropy(logits, targets, 7),
      );
      const logits = upload(ops, normals(14, 'logits'), [2, 7]);
      expectRefusal(() => ops.crossEntropy(logits, Int32Array.of(1, 7)), 'not in a vocabulary of 7');
      expectRefusal(() => ops.crossEntropy(logits, Int32Array.of(1)), '1 targets for 2 rows');
      expectRefusal(() => ops.crossEntropy(logits, Int32Array.of(-1, -1)), 'no target');
      ops.dispose(logits);
    },
  },
  {
    name: 'KL divergence to a teacher',
    run(ops) {
      const teacher = normals(28, 'teacher').map((x) => 2 * x);
      expectGradients(
        ops,
        { logits: [4, 7] },
        ({ logits }) => ops.klDivergence(logits, upload(ops, teacher, [4, 7])),
        ({ logits }) => brute.klDivergence(logits, teacher, 7),
      );
      const [a, b] = [upload(ops, normals(6, 'a'), [2, 3]), upload(ops, normals(8, 'b'), [2, 4])];
      expectRefusal(() => ops.klDivergence(a, b), 'one vocabulary');
      for (const x of [a, b]) ops.dispose(x);
    },
  },
  {
    name: 'round is straight-through, rowMax a constant',
    run(ops) {
      const x = ops.fromF32(Float32Array.of(0.5, 1.5, 2.6, -0.5, -1.4, 3), [2, 3]);
      const weights = ops.fromF32(Float32Array.of(1, 2, 3, 4, 5, 6), [2, 3]);
      const [rounded, largest] = [ops.round(x), ops.rowMax(x)];
      expectNear(ops.dataSync(rounded), [0, 2, 3, 0, -1, 3], 0, 'round');
      expectNear(ops.dataSync(largest), [Math.fround(2.6), 3], 0, 'rowMax');
      const { value, gradients } = ops.valueAndGradients(
        (v) => ops.sum(ops.mul(ops.mul(ops.round(v.x), weights), ops.rowMax(v.x))),
        { x },
      );
      const expected = [1, 2, 3].map((w) => Math.fround(2.6 * w)).concat([12, 15, 18]);
      expectNear(ops.dataSync(gradients.x), expected, 1e-5, 'gradient');
      for (const each of [x, weights, rounded, largest, value, gradients.x]) ops.dispose(each);
    },
  },
  {
    name: 'a value that is gone when the backward pass comes to it is not needed',
    run(ops) {
      const x = ops.fromF32(Float32Array.of(1, 3, 2, 5, 4, 6), [2, 3]);
      const { value, gradients } = ops.valueAndGradients(
        (v) => ops.sum(ops.scope(() => ops.mul(v.x, ops.rowMax(ops.round(ops.scale(v.x, 2)))))),
        { x },
      );
      expectNear(ops.dataSync(value), [6 * 6 + 15 * 12], 0, 'value');
      expectNear(ops.dataSync(gradients.x), [6, 6, 6, 12, 12, 12], 0, 'gradient');
      for (const each of [x, value, gradients.x]) ops.dispose(each);
    },
  },
  {
    name: 'a variable that is not used has gradient zero',
    run(ops) {
      const [a, b] = [ops.fromF32(Float32Array.of(2), []), ops.fromF32(Float32Array.of(5, 5), [2])];
      const { value, gradients } = ops.valueAndGradients(({ used }) => ops.mul(used, used), { used: a, unused: b });
      expectNear(ops.dataSync(gradients.used), [4], 0, 'used');
      expectNear(ops.dataSync(gradients.unused), [0, 0], 0, 'unused');
      expectRefusal(() => ops.valueAndGradients(({ unused }) => unused, { unused: b }), 'needs a scalar');
      for (const each of [a, b, value, ...Object.values(gradients)]) ops.dispose(each);
    },
  },
];

function expectRefusal(attempt: () => unknown, text: string): void {
  try {
    attempt();
  } catch (error) {
    if (error instanceof ShapeError && error.message.includes(text)) return;
    throw error;
  }
  throw new Error(`was not refused: ${text}`);
}
