import { availableParallelism } from 'node:os';
import { createRandom, type PackedKv, type PackedLinear, quantizeInt8Input, schemes } from '@q/core';
import {
  createForwardEngine,
  createPackedKernels,
  type WasmForwardEngine,
  type WasmPackedKernels,
} from '@q/kernels-wasm';
import type { Benchmark, BenchmarkOptions, Comparison } from '../benchmark.js';
import { largestDifference, loadOnnxRuntime, onnxLinear } from '../onnxruntime.js';

const random = createRandom('bench w4');
const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal());
const words = (count: number) => Uint32Array.from({ length: count }, () => random.integer(2 ** 32));
const groupSize = 128;

/** Transposes `[rows, columns]` to `[columns, rows]`. */
function turn<T extends Float32Array | Uint32Array>(x: T, rows: number, columns: number): T {
  const out = x.slice() as T;
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) out[j * rows + i] = x[i * columns + j];
  return out;
}

type Run = (x: Float32Array, tokens: number) => unknown;
interface Contender {
  readonly name: string;
  readonly run: Run;
  free?(): unknown;
}

/** `x w^T` with the dequantized weight in f32, packed into panels once. */
function dense({ ops }: WasmForwardEngine, w: Float32Array, n: number, k: number): Contender {
  const weight = ops.fromF32(w, [n, k]);
  return {
    name: 'wasm, f32 weight',
    run: (x, tokens) => ops.scope(() => void ops.dataSync(ops.linear(ops.fromF32(x, [tokens, k]), weight))),
    free: () => ops.dispose(weight),
  };
}

/** The same product of a weight with zero points of 8, from host to host, by every implementation. */
async function contenders(
  engine: WasmForwardEngine,
  kernels: WasmPackedKernels,
  n: number,
  k: number,
): Promise<readonly Contender[]> {
  // onnxruntime reads rows of words; GPTQ files have columns of words.
  const rows = words((n * k) / 8);
  const scales = normals((n * k) / groupSize).map((x) => (0.5 + Math.abs(x)) / 64);
  const w = Float32Array.from({ length: n * k }, (_, i) => {
    const code = (rows[i >> 3] >>> (4 * (i & 7))) & 15;
    return (code - 8) * scales[Math.floor(i / groupSize)];
  });
  const groups = k / groupSize;
  const shared = { outFeatures: n, inFeatures: k, groupSize, scales: turn(scales, n, groups) };
  const linear = await kernels.load({
    ...{ ...shared, bits: 4, codes: turn(rows, n, k / 8), zeros: new Float32Array(n * groups).fill(8) },
  });
  const two = await kernels.load({
    ...{ ...shared, bits: 2, codes: words((n * k) / 16), zeros: new Float32Array(n * groups).fill(2) },
  });
  const bytes = (x: Float32Array) => quantizeInt8Input(x, k, { scheme: schemes.activations.int8PerToken });
  const ours = (name: string, of: PackedLinear, run: Run): Contender => ({ name, run, free: () => of.dispose() });
  const list: Contender[] = [
    dense(engine, w, n, k),
    ours('wasm, 4 bits x f32', linear, (x, tokens) => linear.multiply(x, tokens)),
    ours('wasm, 4 bits x int8', linear, (x) => linear.multiplyInt8(bytes(x))),
    ours('wasm, 2 bits x f32', two, (x, tokens) => two.multiply(x, tokens)),
    ours('wasm, 2 bits x int8', two, (x) => two.multiplyInt8(bytes(x))),
  ];
  const ort = loadOnnxRuntime();
  if (!ort) return list;
  const x = normals(3 * k);
  const expected = await linear.multiply(x, 3);
  const model = { k, n, blockSize: groupSize, codes: new Uint8Array(rows.buffer), scales };
  for (const [name, accuracyLevel] of [
    ['onnxruntime CPU, 4 bits x f32', undefined],
    ['onnxruntime CPU, 4 bits x int8', 4],
  ] as const) {
    const theirs = await onnxLinear(ort, { ...model, accuracyLevel }, { provider: 'cpu', threads: kernels.threads });
    const apart = largestDifference(await theirs.multiply(x, 3), expected) / Math.max(...expected);
    console.log(`  ${name} differs by ${apart.toExponential(1)} of the largest value`);
    list.push({ name, run: theirs.multiply, free: theirs.release });
  }
  return list;
}

/** One new token with a cache of 4,096, from host to host. The f32 contender has keys and values in its memory. */
function attention(engine: WasmForwardEngine, kernels: WasmPackedKernels): Comparison {
  const [heads, kvHeads, headDim, capacity] = [16, 8, 64, 4096];
  const cache = (bits: 4 | 8): PackedKv => ({
    ...{ bits, along: 'channels', size: headDim },
    codes: new Uint8Array(words((kvHeads * capacity * headDim * bits) / 32).buffer),
    scales: normals(2 * kvHeads * capacity),
  });
  const queries = normals(heads * headDim);
  const { ops } = engine;
  const [k, v] = [0, 1].map(() => ops.fromF32(normals(capacity * kvHeads * headDim), [1, capacity, kvHeads * headDim]));
  const packed = ([8, 4] as const).map((bits) => {
    const args = { queries, tokens: 1, heads, kvHeads, headDim, capacity, packed: capacity, keys: cache(bits) };
    const values = cache(bits);
    return { name: `wasm, ${bits}-bit cache`, run: () => kernels.kvAttention({ ...args, values }) };
  });
  return {
    title: `attention of a token over ${capacity}, ${heads} heads of ${headDim} over ${kvHeads}`,
    work: 4 * heads * headDim * capacity,
    unit: 'FLOP',
    contenders: [
      {
        name: 'wasm, f32 cache',
        run: () =>
          ops.scope(() => {
            const q = ops.fromF32(queries, [1, 1, heads * headDim]);
            ops.dataSync(ops.attention({ q, k, v, heads, kvHeads, headDim, scale: headDim ** -0.5 }));
          }),
      },
      ...packed,
    ],
  };
}

async function* comparisons({ processorTime }: BenchmarkOptions): AsyncGenerator<Comparison> {
  const threads = processorTime ? 1 : availableParallelism();
  const engine = await createForwardEngine({ threads });
  const kernels = await createPackedKernels({ threads });
  console.log(`  ${kernels.name}, ${threads} thread${threads > 1 ? 's' : ''}, groups of ${groupSize}`);
  try {
    for (const [n, k] of [
      [1024, 1024],
      [2816, 1024],
      [4096, 4096],
    ]) {
      const list = await contenders(engine, kernels, n, k);
      for (const tokens of [1, 128, 512]) {
        const x = normals(tokens * k);
        yield {
          title: `${tokens === 1 ? 'decode' : `prefill of ${tokens}`}, [${n}, ${k}]`,
          work: 2 * tokens * n * k,
          unit: 'FLOP',
          ...(tokens * n * k > 2 ** 32 ? { rounds: 5 } : {}),
          contenders: list.map(({ name, run }) => ({ name, run: () => run(x, tokens) })),
          atLeast: { 'wasm, 4 bits x f32': tokens === 1 ? 1.5 : 0.8 },
        };
      }
      for (const { free } of list) await free?.();
    }
    yield attention(engine, kernels);
  } finally {
    await engine.dispose();
    await kernels.dispose();
  }
}

export const benchmark: Benchmark = {
  description:
    'products of packed 4- and 2-bit weights compared with the f32 weight and onnxruntime, attention over packed caches (one thread with --cpu)',
  comparisons,
};
