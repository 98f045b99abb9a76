import { type DifferentiableOps, type Engine, type Kernels, referenceKernels } from '@q/core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { gatherGrams } from './gather-grams.js';
import { registerGradients } from './gradients.js';
import type { Handle, Tfjs } from './handle.js';
import { observeBytes } from './observe-bytes.js';
import { createOps, createSharedTensors } from './ops.js';
import { guardAllocation, type WasmBackend } from './wasm-backend.js';
import { installWasmCopies } from './wasm-copies.js';
import { installWasmMatmul } from './wasm-matmul.js';

/** A tfjs build with one of its backends, loaded but not started. */
export interface LoadedBackend {
  readonly tf: Tfjs;
  /** tfjs's own name of the backend. */
  readonly backend: 'wasm' | 'cpu' | 'tensorflow' | 'webgpu';
  /** The engine's name: `tfjs-wasm`, `tfjs-cpu`, `tfjs-node`. */
  readonly name: string;
  /** Facts about the backend for the engine's notes. */
  readonly notes?: readonly string[];
}

export interface EngineOptions {
  /** On wasm, `kernels.sync.matmul` computes large matrix products if the kernels have it. */
  readonly kernels?: Kernels;
  /**
   * A product goes to the kernels from this number of multiplications on; for smaller ones the copies cost more than
   * they save.
   */
  readonly minimumWork?: number;
}

/** An engine on tfjs that also reports its memory. */
export interface TfjsEngine extends Engine<Handle> {
  /** Values alive on the engine, shared tables included. The numbers stay constant over repeated scopes. */
  memory(): { readonly tensors: number; readonly bytes: number };
}

/**
 * About 1 ms of work at 30 GFLOP/s. No gain was measured for smaller products, because waking threads and copying
 * operands takes time.
 */
const defaultMinimumWork = 1 << 24;

/**
 * Parts cost the native backend copies: attention of 8 windows of 256 tokens in 9 heads takes 21 ms at once, and 27 ms in
 * five parts. 100 MB are alive at this number.
 */
const nativeScoresAtOnce = 1 << 23;

/**
 * Starts a backend.
 * @throws Error when it does not start
 */
export async function startEngine(
  { tf, backend, name }: LoadedBackend,
  options: EngineOptions,
  notes: readonly string[],
): Promise<TfjsEngine> {
  const allNotes = [...notes];
  const taken = backend === 'wasm' ? productKernels(options.kernels) : undefined;
  if (taken) allNotes.push(taken.note);
  registerGradients(tf);
  if (backend === 'wasm') installWasmCopies(tf);
  const routeMatmul = backend === 'wasm' ? installWasmMatmul(tf) : undefined;
  await withoutProcessListeners(async () => {
    if (!(await tf.setBackend(backend))) throw new Error(`tfjs could not start its backend "${backend}"`);
  });
  const instance = tf.backend() as unknown as WasmBackend & { firstUse?: boolean };
  if (backend === 'wasm') guardAllocation(instance);
  // The cpu backend prints an advertisement on its first use.
  instance.firstUse = false;

  const routing = { kernels: taken?.kernels, minimumWork: options.minimumWork ?? defaultMinimumWork };
  const shared = createSharedTensors(tf);
  const activate = () => {
    // tfjs has one active backend a process, and several engines may be alive. Switching to a started backend is
    // synchronous.
    if (tf.getBackend() !== backend) void tf.setBackend(backend);
    routeMatmul?.(routing);
  };
  const ops = withActivation(
    createOps(tf, shared, backend === 'tensorflow' ? nativeScoresAtOnce : undefined),
    activate,
  );
  return {
    name,
    ops: ops as unknown as DifferentiableOps<Handle>,
    notes: allNotes,
    memory() {
      const { numTensors, numBytes } = tf.memory();
      return { tensors: numTensors, bytes: numBytes };
    },
    // On wasm the kernels are equally fast, and they compute the products anyway.
    ...(backend === 'tensorflow' ? { gatherGrams: (kernels: Kernels) => gatherGrams(tf, activate, kernels) } : {}),
    observeBytes: (work) => observeBytes(tf, work, () => shared.bytes),
    async dispose() {
      shared.dispose();
    },
  };
}

/** The kernels that compute products, or the reason why none do. */
function productKernels(kernels: Kernels | undefined): { kernels?: Kernels; note: string } | undefined {
  if (!kernels) return undefined;
  if (!kernels.sync) {
    return { note: `the kernels "${kernels.name}" have no synchronous product: tfjs computes its own` };
  }
  if (kernels.sync === referenceKernels.sync) {
    return { note: 'the reference kernels are slower than tfjs: it computes its own products' };
  }
  return { kernels, note: `matrix products by the kernels "${kernels.name}"` };
}

/**
 * Removes the handlers of `uncaughtException` and `unhandledRejection` that the loader of the wasm binary installs.
 * They throw again from minified source, so every later error of the program would be printed with 40 kB of it.
 */
async function withoutProcessListeners(start: () => Promise<void>): Promise<void> {
  const emitter = (globalThis as { process?: Partial<ListenerList> }).process;
  if (!emitter?.listeners || !emitter.removeListener) return start();
  const { listeners, removeListener } = emitter;
  const events = ['uncaughtException', 'unhandledRejection'];
  const before = events.map((event) => listeners.call(emitter, event));
  try {
    await start();
  } finally {
    events.forEach((event, index) => {
      const added = listeners.call(emitter, event).filter((listener) => !before[index]!.includes(listener));
      for (const listener of added) removeListener.call(emitter, event, listener);
    });
  }
}

interface ListenerList {
  listeners(event: string): (() => void)[];
  removeListener(event: string, listener: () => void): unknown;
}

function withActivation(ops: DifferentiableOps<Tensor>, activate: () => void): DifferentiableOps<Tensor> {
  const wrap =
    (operation: (...args: never[]) => unknown) =>
    (...args: never[]) => {
      activate();
      return operation(...args);
    };
  return Object.fromEntries(
    Object.entries(ops).map(([key, operation]) => [key, wrap(operation)]),
  ) as unknown as DifferentiableOps<Tensor>;
}
