/**
 * Threads that share one WebAssembly memory. A job is a function of the module, its arguments and a number of units.
 * The threads, the calling one included, take tiles of units from a counter until none is left. The result of a tile
 * does not depend on the thread that computes it, so results do not depend on the number of threads.
 *
 * Control words, 32-bit, at the start of the memory: job number, next tile, finished threads, tiles, units a tile,
 * units, function, argument count; arguments follow as f64.
 */
import type { Reserve } from '@q/core';
import { compileModule, type SimdLevel } from './simd.js';

const jobWord = 0;
const nextWord = 1;
const finishedWord = 2;
const argumentsByte = 256;
const maxArguments = 24;
/** The module's static data ends below this address. Memory from here on is allocated again for each call. */
export const heapStart = 65536;
export const pageBytes = 65536;
/** The module has edge tiles of `matmulTile` for this many threads. */
const maxThreads = 16;

const functions = [
  'packA',
  'packB',
  'matmulTile',
  'gramTile',
  'packRows',
  'packFactor',
  'sweepPanels',
  'errorPanels',
  'packSquare',
  'packCodes',
  'differences',
  'blockGradient',
  'scaleSteps',
  'descendPanels',
  'turnPanels',
  'mixOutputs',
  'unpackCodes',
  'unpackColumns',
  'takeColumns',
  'subtractEarlier',
  'solveBelow',
  'unpackRows',
  'solveRows64',
  'hadamardRows',
  'widen',
  'int8Rows',
  'attentionHeads',
  'combineRows',
  'mapVectors',
  'normRows',
  'softmaxRows',
  'rotaryRows',
  'arrangeFloats',
  'arrangeBytes',
  'packedVector8x1',
  'packedVector8x4',
  'packedVector4x1',
  'packedVector4x4',
  'packedVector2x1',
  'packedVector2x4',
  'packedInt8Vector4x1',
  'packedInt8Vector4x4',
  'packedInt8Vector2x1',
  'packedInt8Vector2x4',
  'packedPanels8',
  'packedPanels4',
  'packedPanels2',
  'packedInt8Panels4',
  'packedInt8Panels2',
  'kvAttention',
  'groupExtremes',
  'roundGroups',
  'levelGroups',
  'sweepGroups',
  'shrinkGroups',
  'squaredErrors',
  'decodeHalves',
  'halfVector',
  'halfPanels',
  'packRowsOfWords',
  'encodeQ4_0',
  'encodeQ8_0',
  'encodeQ4_K',
  'encodeQ5_K',
  'encodeQ6_K',
  'attentionGradientHeads',
  'scoreRows',
  'crossEntropyRows',
  'divergenceRows',
  'mapGradient',
  'normGradientRows',
  'softmaxGradientRows',
  'sumColumns',
] as const;

export type PoolFunction = (typeof functions)[number];

/** Arguments of `factorBlock` and `solveBelow` in `assembly`, which take them by position. */
export type BlockArguments = readonly [
  columns: number,
  start: number,
  size: number,
  width: number,
  diagonal: number,
  l: number,
  n: number,
  narrow: number,
];

/** Steps of `assembly/output-descent.ts` that only the calling thread takes. */
type CallerFunction = 'mixChanges' | 'rowProducts' | 'descendOutputs';

type Exports = Record<PoolFunction | CallerFunction, (...args: number[]) => void> & {
  sweepBytes(points: number): number;
  factorBlock(...args: BlockArguments): number;
};

/** A worker's whole program. It is text because it runs in its own scope. A worker spins briefly before it sleeps. */
const workerProgram = `
const start = ({ module, memory, index, functions }) => {
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  const control = new Int32Array(memory.buffer, 0, 64);
  const values = new Float64Array(memory.buffer, ${argumentsByte}, ${maxArguments});
  let seen = 0;
  for (;;) {
    for (let spin = 0; spin < 4000 && Atomics.load(control, 0) === seen; spin++);
    // The word decides, not the wake-up: a thread that saw a job while spinning may finish it, fall asleep, and be
    // woken by that job's late notification. It would draw tiles of the next job before that one is posted.
    while (Atomics.load(control, 0) === seen) Atomics.wait(control, 0, seen);
    seen = Atomics.load(control, 0);
    if (control[6] < 0) return;
    const run = exports[functions[control[6]]];
    const args = Array.from(values.subarray(0, control[7]));
    for (let tile; (tile = Atomics.add(control, 1, 1)) < control[3]; ) {
      run(...args, tile * control[4], Math.min((tile + 1) * control[4], control[5]), index);
    }
    Atomics.add(control, 2, 1);
    Atomics.notify(control, 2);
  }
};
`;
const nodeProgram = `${workerProgram} start(require('node:worker_threads').workerData);`;
const webProgram = `${workerProgram} onmessage = (event) => start(event.data);`;

interface PoolWorker {
  terminate(): unknown;
}

export interface Pool {
  readonly simd: SimdLevel;
  readonly threads: number;
  readonly exports: Exports;
  /** The memory that all threads share; the control words are at its start. */
  readonly memory: WebAssembly.Memory;
  /** Reserves memory that no call uses for itself until it is released. Arrays in it need not be copied. */
  reserve(bytes: number): Reserve;
  /** The address of an array in reserved memory; undefined for any other array. */
  addressOf(array: ArrayBufferView): number | undefined;
  /** Frees all allocations except reserved memory, and grows the memory to at least `bytes`. */
  reset(bytes: number): void;
  /** Memory for `count` values, aligned to 64 bytes. */
  f32(count: number): Float32Array;
  f64(count: number): Float64Array;
  bytes(count: number): Uint8Array;
  /**
   * Runs `name(...args, first, last, worker)` over `units` units, `grain` at a time, and waits for the end. The calling
   * thread runs `meanwhile` first, then takes its share of the units. `meanwhile` must not touch memory that the
   * function reads or writes.
   */
  run(name: PoolFunction, args: readonly number[], units: number, grain: number, meanwhile?: () => void): void;
  /** A mark of the allocations so far; `release` frees the later ones. */
  mark(): number;
  release(mark: number): void;
  dispose(): Promise<void>;
}

export interface PoolOptions {
  readonly threads: number;
  readonly simd: SimdLevel | 'auto';
}

export async function createPool(options: PoolOptions): Promise<Pool> {
  const { module, simd } = await compileModule(options.simd);
  const memory = new WebAssembly.Memory({ initial: 16, maximum: 65536, shared: true });
  const instance = new WebAssembly.Instance(module, { env: { memory } });
  const exports = instance.exports as unknown as Exports;
  const threads = Math.max(1, Math.min(options.threads, maxThreads));
  const workers: PoolWorker[] = [];
  for (let index = 1; index < threads; index++) workers.push(await startWorker({ module, memory, index, functions }));

  const control = new Int32Array(memory.buffer, 0, 64);
  const values = new Float64Array(memory.buffer, argumentsByte, maxArguments);
  /** Reserved chunks are at the low addresses. Each chunk ends where the next one begins. */
  const reserved: { readonly end: number }[] = [];
  const base = () => reserved[reserved.length - 1]?.end ?? heapStart;
  /** A memory gets a new buffer when it grows. Arrays of an older buffer stay valid. */
  const buffers = new WeakSet<ArrayBufferLike>();
  let top = heapStart;

  function take(bytes: number): number {
    const at = top;
    top += Math.ceil(bytes / 64) * 64;
    const missing = top - memory.buffer.byteLength;
    if (missing > 0) memory.grow(Math.ceil(missing / pageBytes));
    return at;
  }

  function waitForWorkers(): void {
    for (let spin = 0; Atomics.load(control, finishedWord) < workers.length; spin++) {
      if (spin < 20000 || !canBlock) continue;
      const seen = Atomics.load(control, finishedWord);
      if (seen < workers.length) Atomics.wait(control, finishedWord, seen, 5);
    }
  }

  return {
    simd,
    threads,
    exports,
    memory,
    reserve(bytes) {
      top = base();
      const at = take(bytes);
      const chunk = { end: top };
      reserved.push(chunk);
      buffers.add(memory.buffer);
      return {
        bytes: new Uint8Array(memory.buffer, at, bytes),
        release() {
          const index = reserved.indexOf(chunk);
          if (index >= 0) reserved.splice(index, 1);
        },
      };
    },
    addressOf: ({ buffer, byteOffset }) => (buffers.has(buffer) ? byteOffset : undefined),
    reset(bytes) {
      top = base();
      take(bytes);
      top = base();
    },
    f32: (count) => new Float32Array(memory.buffer, take(4 * count), count),
    f64: (count) => new Float64Array(memory.buffer, take(8 * count), count),
    bytes: (count) => new Uint8Array(memory.buffer, take(count), count),
    run(name, args, units, grain, meanwhile) {
      const tiles = Math.ceil(units / grain);
      const call = exports[name];
      if (workers.length === 0 || tiles === 1) {
        meanwhile?.();
        for (let tile = 0; tile < tiles; tile++) call(...args, tile * grain, Math.min((tile + 1) * grain, units), 0);
        return;
      }
      values.set(args);
      control[nextWord] = 0;
      control[finishedWord] = 0;
      control[3] = tiles;
      control[4] = grain;
      control[5] = units;
      control[6] = functions.indexOf(name);
      control[7] = args.length;
      Atomics.add(control, jobWord, 1);
      Atomics.notify(control, jobWord);
      meanwhile?.();
      for (let tile = Atomics.add(control, nextWord, 1); tile < tiles; tile = Atomics.add(control, nextWord, 1)) {
        call(...args, tile * grain, Math.min((tile + 1) * grain, units), 0);
      }
      waitForWorkers();
    },
    mark: () => top,
    release(mark) {
      top = mark;
    },
    async dispose() {
      control[6] = -1;
      Atomics.add(control, jobWord, 1);
      Atomics.notify(control, jobWord);
      for (const worker of workers) await worker.terminate();
      workers.length = 0;
    },
  };
}

const inNode = typeof process !== 'undefined' && Boolean(process.versions?.node);
/** Whether this thread may sleep: the main thread of a page may not, every other thread may. */
const canBlock = inNode || typeof window === 'undefined';

async function startWorker(data: Record<string, unknown>): Promise<PoolWorker> {
  if (inNode) {
    const { Worker } = await import('node:worker_threads');
    const worker = new Worker(nodeProgram, { eval: true, workerData: data });
    // A process must be able to end while its workers sleep.
    worker.unref();
    return worker;
  }
  const url = URL.createObjectURL(new Blob([webProgram], { type: 'text/javascript' }));
  const worker = new Worker(url);
  worker.postMessage(data);
  return worker;
}

/** Default number of threads: the cores, at most 8; one if memory cannot be shared. */
export async function defaultThreads(): Promise<number> {
  if (inNode) return Math.min(8, (await import('node:os')).availableParallelism());
  return globalThis.crossOriginIsolated ? Math.min(8, navigator.hardwareConcurrency) : 1;
}
