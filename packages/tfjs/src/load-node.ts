import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import util from 'node:util';
import { SchemeError } from '@q/core';
import { usesBf16Products } from './bf16-products.js';
import type { LoadedBackend } from './engine.js';
import type { Tfjs } from './handle.js';
import { findTfjsNode } from './native-location.js';

// The ES modules of tfjs import without file extensions, and Node does not resolve such imports. So the CommonJS builds
// are loaded.
const require = createRequire(import.meta.url);

/** Loads tfjs-core with the wasm backend, which finds its binaries in its own package. */
export function loadWasm(): LoadedBackend {
  const tf = quietly(() => require('@tensorflow/tfjs-core') as Tfjs);
  const wasm = require('@tensorflow/tfjs-backend-wasm') as typeof import('@tensorflow/tfjs-backend-wasm');
  wasm.setWasmPaths(join(dirname(require.resolve('@tensorflow/tfjs-backend-wasm')), '/'));
  return { tf, backend: 'wasm', name: 'tfjs-wasm' };
}

/** Loads tfjs-core with the plain JavaScript backend. */
export function loadCpu(): LoadedBackend {
  const tf = quietly(() => require('@tensorflow/tfjs-core') as Tfjs);
  quietly(() => require('@tensorflow/tfjs-backend-cpu'));
  return { tf, backend: 'cpu', name: 'tfjs-cpu' };
}

/** The reason why the native backend cannot be loaded; undefined if loading may be tried. */
export function nativeAbsence(): string | undefined {
  const search = findTfjsNode(require);
  return 'absent' in search ? search.absent : undefined;
}

/** The number of threads that TensorFlow was given. */
let threadsOfProcess: number | undefined;

/**
 * Loads the native backend, from next to this package or from the folder of `q engine setup`.
 * @param bf16 whether products round their operands to bf16; their sums stay in f32
 * @throws SchemeError when the package or its add-on is absent, or products of this process have the other precision;
 *   Error when the add-on does not load
 */
export function loadNode({
  threads,
  bf16 = false,
}: {
  readonly threads?: number;
  readonly bf16?: boolean;
} = {}): LoadedBackend {
  const search = findTfjsNode(require);
  if ('absent' in search) throw new SchemeError(search.absent);
  // tfjs-node 4.22 calls two functions that Node 23 removes or warns about (tensorflow/tfjs#8609).
  const legacy = util as unknown as Record<string, unknown>;
  legacy['isNullOrUndefined'] = (value: unknown) => value === null || value === undefined;
  legacy['isArray'] = Array.isArray;
  // TensorFlow reads the number once, when its first operation runs: the first engine of a process decides.
  threadsOfProcess ??= threads ?? availableParallelism();
  process.env['TF_NUM_INTRAOP_THREADS'] = String(threadsOfProcess);
  const rounds = usesBf16Products(bf16);
  // TensorFlow prints a line about the processor to standard error at every start. This level still prints warnings and
  // errors.
  process.env['TF_CPP_MIN_LOG_LEVEL'] ??= '1';
  // TensorFlow turns on oneDNN's products only on some processors. With AVX2 alone they save a fifth of a training
  // step, and two thirds of the time of attention's small products. Two lines on standard error say that they are on,
  // at every level.
  process.env['TF_ENABLE_ONEDNN_OPTS'] ??= '1';
  const tf = quietly(() => search.found.require('@tensorflow/tfjs-node') as Tfjs);
  const notes = [`node: ${threadsOfProcess} threads, on whose number the last bits of a result depend`];
  if (threads !== undefined && threads !== threadsOfProcess) {
    notes.push(`node: ${threads} threads were requested, but an engine of this process has started with others`);
  }
  if (rounds) notes.push('node: products round their operands to bf16');
  return { tf, backend: 'tensorflow', name: rounds ? 'tfjs-node-bf16' : 'tfjs-node', notes };
}

/**
 * Runs `load` without the console lines of a second tfjs-core. tfjs-node loads its own tfjs-core if npm did not
 * deduplicate it. All copies share the engine and the registries of kernels and gradients on `globalThis`, so they work
 * together. But each kernel of the cpu backend that is registered a second time prints a line, 150 lines in all, and so
 * does Node's platform.
 */
function quietly<R>(load: () => R): R {
  const warn = console.warn;
  console.warn = (...message: unknown[]) => {
    if (!/already registered|has already been set/.test(String(message[0]))) warn(...message);
  };
  try {
    return load();
  } finally {
    console.warn = warn;
  }
}
