/**
 * Checks of the operations of every engine, as cases that throw. Results are compared with f64 forms of the
 * definitions.
 */
import { type Activation, createRandom, fromF32, type Ops, type RotaryTable, ShapeError } from '@q/core';
import * as brute from './brute-force.js';

export interface OpsConformanceCase {
  readonly name: string;
  run<T>(ops: Ops<T>): void;
}

/** Standard normal values, exact in f32. */
function normals(count: number, label: string): number[] {
  const random = createRandom(1).fork(label);
  return Array.from({ length: count }, () => Math.fround(random.normal()));
}

const upload = <T>(ops: Ops<T>, values: readonly number[], shape: readonly number[]) =>
  ops.fromF32(Float32Array.from(values), shape);

/** Computes in a scope and compares shape and values. */
function expectValues<T>(
  ops: Ops<T>,
  compute: () => T,
  shape: readonly number[],
  expected: ArrayLike<number>,
  tolerance: number,
): void {
  const x = ops.scope(compute);
  const found = ops.dataSync(x);
  if (String(ops.shape(x)) !== String(shape)) throw new Error(`shape [${ops.shape(x)}], [${shape}] was expected`);
  ops.dispose(x);
  if (found.length !== expected.length) throw new Error(`${found.length} values, ${expected.length} were expected`);
  for (let i = 0; i < expected.length; i++) {
    if (!(Math.abs(found[i] - expected[i]) <= tolerance))
      throw new Error(`value ${i} is ${found[i]}, ${expected[i]} was expected`);
  }
}

function expectRefusal<T>(ops: Ops<T>, compute: () => T, text: string): void {
  try {
    ops.scope(compute);
  } catch (error) {
    if (error instanceof ShapeError && error.message.includes(text)) return;
    throw error;
  }
  throw new Error(`was not refused: ${text}`);
}

export function rotaryTable(positions: number, headDim: number, theta: number): RotaryTable {
  const half = headDim / 2;
  const angles = Array.from(
    { length: positions * half },
    (_, i) => Math.floor(i / half) * theta ** (-(i % half) / half),
  );
  return { cos: Float32Array.from(angles, Math.cos), sin: Float32Array.from(angles, Math.sin), positions, headDim };
}

const linearCases: OpsConformanceCase[] = [
  [6, 37, 41, true],
  [6, 37, 41, false],
  [131, 300, 67, true],
  [1, 520, 8, true],
].map(([tokens, width, features, withBias]) => ({
  name: `linear ${tokens}x${width}x${features}${withBias ? ' with a bias' : ''}, over any leading axes`,
  run(ops) {
    const [m, k, n] = [tokens, width, features].map(Number);
    const [x, weight, bias] = [normals(m * k, 'x'), normals(n * k, 'w'), normals(n, 'b')];
    const compute = () =>
      ops.linear(upload(ops, x, [1, m, k]), upload(ops, weight, [n, k]), withBias ? upload(ops, bias, [n]) : undefined);
    expectValues(ops, compute, [1, m, n], brute.linear(x, weight, withBias ? bias : undefined, k), 1e-4);
    expectRefusal(
      ops,
      () => ops.linear(upload(ops, x, [m, k]), upload(ops, weight, [k, n])),
      'does not fit the weight',
    );
  },
}));

const normCase: OpsConformanceCase = {
  name: 'norms',
  run(ops) {
    for (const width of [24, 30, 3]) {
      const [x, gain, bias] = [normals(6 * width, 'x'), normals(width, 'g'), normals(width, 'b')];
      const [a, g, b] = [
        () => upload(ops, x, [2, 3, width]),
        () => upload(ops, gain, [width]),
        () => upload(ops, bias, [width]),
      ];
      const expected = (withBias: boolean, centre: boolean) =>
        brute.normalize(x, gain, withBias ? bias : undefined, 1e-5, centre);
      expectValues(ops, () => ops.rmsNorm(a(), g(), 1e-5), [2, 3, width], expected(false, false), 3e-6);
      expectValues(ops, () => ops.layerNorm(a(), g(), b(), 1e-5), [2, 3, width], expected(true, true), 3e-6);
      expectValues(ops, () => ops.layerNorm(a(), g(), undefined, 1e-5), [2, 3, width], expected(false, true), 3e-6);
    }
  },
};

const activationCases: OpsConformanceCase[] = (
  ['relu', 'silu', 'gelu', 'geluTanh', 'sigmoid', 'tanh'] as Activation[]
).map((kind) => ({
  name: `activation ${kind}`,
  run(ops) {
    const x = [...normals(201, 'x'), 0, -4, 4, 1e-6];
    const compute = () => ops.activation(kind, upload(ops, x, [x.length]));
    expectValues(ops, compute, [x.length], x.map(brute.activations[kind]), 2e-6);
    // Values far from 0 must not overflow.
    const far = [-200, -90, 90, 200];
    const limits = kind === 'sigmoid' ? [0, 0, 1, 1] : kind === 'tanh' ? [-1, -1, 1, 1] : [0, 0, 90, 200];
    expectValues(ops, () => ops.activation(kind, upload(ops, far, [4])), [4], limits, 1e-5);
  },
}));

const rowCases: OpsConformanceCase[] = [
  {
    name: 'softmax over the last axis',
    run(ops) {
      const x = normals(2 * 3 * 7, 'x');
      expectValues(ops, () => ops.softmax(upload(ops, x, [2, 3, 7])), [2, 3, 7], brute.softmax(x, 7), 1e-6);
    },
  },
  {
    name: 'rows are gathered and scattered back',
    run(ops) {
      const x = normals(6 * 7, 'x');
      const ids = [5, 1, 5, 0, 5, 3];
      const scatter = (of: readonly number[], count: number) => () =>
        ops.scatterRows(upload(ops, x, [6, 7]), Int32Array.from(of), count);
      expectValues(ops, scatter(ids, 8), [8, 7], brute.scatterRows(x, ids, 8, 7), 1e-6);
      expectRefusal(ops, scatter(ids, 5), 'id 5 at position 0');
      expectRefusal(ops, scatter([1], 5), '1 ids for 6 rows');
    },
  },
  {
    name: 'appends tokens to each sequence',
    run(ops) {
      const [a, b] = [normals(2 * 3 * 4, 'a'), normals(2 * 2 * 4, 'b')];
      const expected = [...a.slice(0, 12), ...b.slice(0, 8), ...a.slice(12), ...b.slice(8)];
      expectValues(
        ops,
        () => ops.append(upload(ops, a, [2, 3, 4]), upload(ops, b, [2, 2, 4])),
        [2, 5, 4],
        expected,
        1e-6,
      );
    },
  },
  {
    name: 'appends to one sequence again and again, and twice to the same beginning',
    run(ops) {
      const parts = Array.from({ length: 6 }, (_, i) => normals(4, `part ${i}`));
      const handle = (i: number) => upload(ops, parts[i], [1, 1, 4]);
      const valuesOf = (ids: readonly number[]) => ids.flatMap((i) => [...parts[i]]);
      const ids = [0, 1, 2, 3, 4, 5];
      const whole = () => ids.slice(1).reduce((before, i) => ops.append(before, handle(i)), handle(0));
      expectValues(ops, whole, [1, 6, 4], valuesOf(ids), 0);
      for (const asked of [0, 1]) {
        const twice = () => {
          const beginning = ops.append(handle(0), handle(1));
          return [2, 3].map((i) => ops.append(beginning, handle(i)))[asked];
        };
        expectValues(ops, twice, [1, 3, 4], valuesOf([0, 1, 2 + asked]), 0);
      }
    },
  },
  {
    name: 'rotates halves',
    run(ops) {
      for (const headDim of [8, 6]) {
        const [length, heads] = [5, 3];
        const x = normals(2 * length * heads * headDim, 'x');
        const table = rotaryTable(16, headDim, 10000);
        const shape = [2, length, heads * headDim];
        const expected = brute.rotary(x, { length, heads, headDim, theta: 10000 });
        expectValues(ops, () => ops.rotary(upload(ops, x, shape), heads, table), shape, expected, 2e-6);
        const last = x.slice(3 * heads * headDim, 5 * heads * headDim);
        const tail = () => ops.rotary(upload(ops, last, [1, 2, heads * headDim]), heads, table, 3);
        const turned = expected.slice(3 * heads * headDim, 5 * heads * headDim);
        expectValues(ops, tail, [1, 2, heads * headDim], turned, 2e-6);
        const short = rotaryTable(4, headDim, 1);
        expectRefusal(ops, () => ops.rotary(upload(ops, x, shape), heads, short), 'longer than the rotary table');
      }
    },
  },
  {
    name: 'rotates the first features of each head alone',
    run(ops) {
      for (const [headDim, rotated] of [
        [10, 4],
        [24, 16],
        [8, 6],
      ]) {
        const [length, heads] = [5, 3];
        const shape = [2, length, heads * headDim];
        const x = normals(2 * length * heads * headDim, 'x');
        const table = rotaryTable(16, rotated, 10000);
        const expected = brute.rotary(x, { length, heads, headDim, theta: 10000, rotated });
        expectValues(ops, () => ops.rotary(upload(ops, x, shape), heads, table), shape, expected, 2e-6);
      }
      const wide = rotaryTable(16, 8, 10000);
      expectRefusal(ops, () => ops.rotary(upload(ops, normals(12, 'x'), [1, 1, 12]), 2, wide), 'heads of 6 features');
    },
  },
  {
    name: 'limits values',
    run(ops) {
      const x = [...normals(37, 'x'), -7, 7];
      const limited = x.map((value) => Math.min(0.5, Math.max(-0.25, value)));
      expectValues(ops, () => ops.clip(upload(ops, x, [x.length]), -0.25, 0.5), [x.length], limited, 0);
    },
  },
  {
    name: 'rotates from a position on',
    run(ops) {
      const table = rotaryTable(16, 8, 10000);
      const x = normals(6 * 24, 'x');
      const rotated = () => ops.rotary(upload(ops, x.slice(4 * 24), [1, 2, 24]), 3, table, 4);
      expectValues(
        ops,
        rotated,
        [1, 2, 24],
        brute.rotary(x, { length: 6, heads: 3, headDim: 8, theta: 10000 }).slice(4 * 24),
        2e-6,
      );
    },
  },
];

const attentionCases: OpsConformanceCase[] = [
  { batch: 2, length: 7, heads: 4, kvHeads: 4, headDim: 8, scale: 0.35 },
  { batch: 2, length: 7, heads: 6, kvHeads: 2, headDim: 4, scale: 0.5 },
  { batch: 1, length: 9, heads: 4, kvHeads: 1, headDim: 8, scale: 0.35, window: 3 },
  { batch: 1, length: 50, heads: 2, kvHeads: 2, headDim: 6, scale: 0.35, window: 12 },
  { batch: 2, length: 70, heads: 2, kvHeads: 1, headDim: 16, scale: 2, window: 70 },
  // More scores than an engine computes at once.
  { batch: 2, length: 600, heads: 4, kvHeads: 2, headDim: 2, scale: 0.7 },
  { batch: 3, length: 1, heads: 2, kvHeads: 2, headDim: 4, scale: 0.5, window: 8 },
  { batch: 2, length: 7, heads: 4, kvHeads: 4, headDim: 8, scale: 0.35, causal: false },
  { batch: 1, length: 13, heads: 4, kvHeads: 2, headDim: 6, scale: 0.35, causal: false, biased: true },
  { batch: 2, length: 9, heads: 2, kvHeads: 2, headDim: 4, scale: 0.5, biased: true },
  { batch: 1, length: 50, heads: 2, kvHeads: 1, headDim: 6, scale: 0.35, causal: false, window: 12 },
  { batch: 2, length: 70, heads: 2, kvHeads: 2, headDim: 16, scale: 2, causal: false, window: 5, biased: true },
  { batch: 3, length: 1, heads: 2, kvHeads: 2, headDim: 4, scale: 0.5, causal: false },
  { batch: 1, length: 600, heads: 4, kvHeads: 2, headDim: 2, scale: 0.7, causal: false, window: 50, biased: true },
].map(({ biased, ...c }: brute.AttentionCase & { readonly biased?: boolean }) => ({
  name: `attention ${JSON.stringify(c)}${biased ? ' with a bias' : ''}`,
  run(ops) {
    const { batch, length, heads, kvHeads, headDim } = c;
    const tokens = batch * length;
    const q = normals(tokens * heads * headDim, 'q');
    const k = normals(tokens * kvHeads * headDim, 'k');
    const v = normals(tokens * kvHeads * headDim, 'v');
    const bias = biased ? normals(heads * length * length, 'bias') : undefined;
    const compute = () =>
      ops.attention({
        ...c,
        q: upload(ops, q, [batch, length, heads * headDim]),
        k: upload(ops, k, [batch, length, kvHeads * headDim]),
        v: upload(ops, v, [batch, length, kvHeads * headDim]),
        ...(bias ? { bias: upload(ops, bias, [heads, length, length]) } : {}),
      });
    expectValues(ops, compute, [batch, length, heads * headDim], brute.attention({ q, k, v, bias }, c), 5e-6);
  },
}));

/** Scores with a limit, and scores with a sink for each head. */
const cappedCases: OpsConformanceCase[] = [
  { batch: 2, length: 7, heads: 6, kvHeads: 2, headDim: 4, scale: 0.5, softCap: 2 },
  { batch: 1, length: 50, heads: 2, kvHeads: 2, headDim: 6, scale: 0.9, window: 12, softCap: 0.7 },
  { batch: 2, length: 9, heads: 4, kvHeads: 2, headDim: 8, scale: 0.4, withSinks: true },
  { batch: 2, length: 70, heads: 4, kvHeads: 1, headDim: 6, scale: 0.4, window: 8, withSinks: true },
  { batch: 2, length: 600, heads: 4, kvHeads: 2, headDim: 2, scale: 0.7, softCap: 1.5, withSinks: true },
  {
    batch: 2,
    length: 9,
    heads: 4,
    kvHeads: 2,
    headDim: 4,
    scale: 0.5,
    window: 4,
    softCap: 1,
    withSinks: true,
    last: 2,
  },
].map(({ withSinks, last, ...c }) => ({
  name: `attention ${JSON.stringify(c)}${withSinks ? ' with sinks' : ''}${last ? ` of the last ${last} tokens` : ''}`,
  run(ops) {
    const { batch, length, heads, kvHeads, headDim } = c;
    const width = heads * headDim;
    const q = normals(batch * length * width, 'q');
    const [k, v] = ['k', 'v'].map((label) => normals(batch * length * kvHeads * headDim, label));
    const sinks = withSinks ? normals(heads, 'sinks') : undefined;
    const asked = last ?? length;
    const from = (values: readonly number[]) =>
      Array.from({ length: batch }, (_, b) =>
        values.slice((b * length + length - asked) * width, (b + 1) * length * width),
      ).flat();
    const compute = () =>
      ops.attention({
        ...c,
        q: upload(ops, from(q), [batch, asked, width]),
        k: upload(ops, k, [batch, length, kvHeads * headDim]),
        v: upload(ops, v, [batch, length, kvHeads * headDim]),
        ...(sinks ? { sinks: upload(ops, sinks, [heads]) } : {}),
      });
    expectValues(ops, compute, [batch, asked, width], from(brute.attention({ q, k, v, sinks }, c)), 5e-6);
  },
}));

/**
 * Decoding with a cache: the queries are the last ones of 9 tokens, whose keys and values are appended in two parts.
 */
const lastQueryCases: OpsConformanceCase[] = [
  { queries: 1, window: undefined },
  { queries: 3, window: undefined },
  { queries: 1, window: 4 },
  { queries: 2, window: 4 },
].map(({ queries, window }) => ({
  name: `attention of the last ${queries} of 9 tokens, window ${window}`,
  run(ops) {
    const c = { batch: 2, length: 9, heads: 4, kvHeads: 2, headDim: 4, scale: 0.5, window };
    const [q, k, v] = [normals(2 * 9 * 16, 'q'), normals(2 * 9 * 8, 'k'), normals(2 * 9 * 8, 'v')];
    /** Tokens `from..to` of both sequences. */
    const part = (values: readonly number[], width: number, from: number, to: number) =>
      [0, 1].flatMap((row) => values.slice((9 * row + from) * width, (9 * row + to) * width));
    const last = (values: readonly number[]) => part(values, 16, 9 - queries, 9);
    const cached = (values: readonly number[]) =>
      ops.append(upload(ops, part(values, 8, 0, 5), [2, 5, 8]), upload(ops, part(values, 8, 5, 9), [2, 4, 8]));
    const compute = () =>
      ops.attention({ ...c, q: upload(ops, last(q), [2, queries, 16]), k: cached(k), v: cached(v) });
    expectValues(ops, compute, [2, queries, 16], last(brute.attention({ q, k, v }, c)), 3e-6);
  },
}));

const shapeCases: OpsConformanceCase[] = [
  {
    name: 'uploads narrow floats as f32',
    run(ops) {
      const values = Float32Array.of(1, -0.5, 3, 0.25);
      expectValues(ops, () => ops.fromTensor(fromF32('bf16', [2, 2], values)), [2, 2], values, 0);
    },
  },
  {
    name: 'transposes the last two axes',
    run(ops) {
      const x = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
      const expected = [1, 3, 5, 2, 4, 6, 7, 9, 11, 8, 10, 12];
      expectValues(ops, () => ops.transpose(upload(ops, x, [2, 3, 2])), [2, 2, 3], expected, 0);
    },
  },
  {
    name: 'embeds, slices, splits, reshapes, adds, multiplies',
    run(ops) {
      const table = Array.from({ length: 12 }, (_, i) => i);
      const whole = () => upload(ops, table, [4, 3]);
      const embed = (ids: readonly number[]) => () => ops.embed(whole(), Int32Array.from(ids), 1, 2);
      expectValues(ops, embed([3, 0]), [1, 2, 3], [9, 10, 11, 0, 1, 2], 0);
      expectRefusal(ops, embed([0, 4]), 'id 4 at position 1');
      expectValues(ops, () => ops.rows(whole(), 1, 2), [2, 3], [3, 4, 5, 6, 7, 8], 0);
      expectValues(ops, () => ops.split(whole(), [1, 2])[1], [4, 2], [1, 2, 4, 5, 7, 8, 10, 11], 0);
      const combined = () => {
        const a = upload(ops, [1, 2, 3, 4], [2, 2]);
        return ops.reshape(ops.scale(ops.mul(ops.add(a, upload(ops, [10, 20], [2])), a), 2), [4]);
      };
      expectValues(ops, combined, [4], [22, 88, 78, 192], 0);
      const positions = () => ops.add(upload(ops, table, [2, 2, 3]), upload(ops, [10, 20, 30, 40, 50, 60], [2, 3]));
      expectValues(ops, positions, [2, 2, 3], [10, 21, 32, 43, 54, 65, 16, 27, 38, 49, 60, 71], 0);
      expectValues(ops, () => ops.reshape(whole(), [2, -1]), [2, 6], table, 0);
      const repeated = () => ops.mul(upload(ops, [1, 2, 3, 4, 5, 6], [2, 3]), upload(ops, [10, 100], [2, 1]));
      expectValues(ops, repeated, [2, 3], [10, 20, 30, 400, 500, 600], 0);
      const scalar = () => ops.mul(upload(ops, [1, 2, 3, 4, 5, 6], [2, 1, 3]), upload(ops, [2, 3], [1, 2, 1]));
      expectValues(ops, scalar, [2, 2, 3], [2, 4, 6, 3, 6, 9, 8, 10, 12, 12, 15, 18], 0);
    },
  },
];

export const opsConformance: readonly OpsConformanceCase[] = [
  ...linearCases,
  normCase,
  ...activationCases,
  ...rowCases,
  ...attentionCases,
  ...cappedCases,
  ...lastQueryCases,
  ...shapeCases,
];
