import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import util from 'node:util';
import { SchemeError } from '@q/core';
import type { LoadedBackend } from './engine.js';
import type { Tfjs } from './handle.js';
import { findTfjsNode } from './native-location.js';

// The ES modules of tfjs import without file extensions, which Node does not resolve: its CommonJS builds are loaded.
const require = createRequire(import.meta.url);

/** tfjs-core with the wasm backend, its binaries found in the package. */
export function loadWasm(): LoadedBackend {
  const tf = quietly(() => require('@tensorflow/tfjs-core') as Tfjs);
  const wasm = require('@tensorflow/tfjs-backend-wasm') as typeof import('@tensorflow/tfjs-backend-wasm');
  wasm.setWasmPaths(join(dirname(require.resolve('@tensorflow/tfjs-backend-wasm')), '/'));
  return { tf, backend: 'wasm', name: 'tfjs-wasm' };
}

/** tfjs-core with the plain JavaScript backend. */
export function loadCpu(): LoadedBackend {
  const tf = quietly(() => require('@tensorflow/tfjs-core') as Tfjs);
  quietly(() => require('@tensorflow/tfjs-backend-cpu'));
  return { tf, backend: 'cpu', name: 'tfjs-cpu' };
}

/** Why the native backend cannot be loaded; nothing when it may be tried. */
export function nativeAbsence(): string | undefined {
  const search = findTfjsNode(require);
  return 'absent' in search ? search.absent : undefined;
}

/** Threads that TensorFlow has been told of. */
let threadsOfProcess: number | undefined;

/**
 * The native backend, from beside this package or from where `q engine setup` put it.
 * @throws SchemeError when the package or its add-on is absent; Error when the add-on does not load
 */
export function loadNode({ threads }: { readonly threads?: number } = {}): LoadedBackend {
  const search = findTfjsNode(require);
  if ('absent' in search) throw new SchemeError(search.absent);
  // tfjs-node 4.22 calls two functions that Node 23 removes or warns about (tensorflow/tfjs#8609).
  const legacy = util as unknown as Record<string, unknown>;
  legacy['isNullOrUndefined'] = (value: unknown) => value === null || value === undefined;
  legacy['isArray'] = Array.isArray;
  // Read once by TensorFlow when its first operation runs: the first engine of a process decides.
  threadsOfProcess ??= threads ?? availableParallelism();
  process.env['TF_NUM_INTRAOP_THREADS'] = String(threadsOfProcess);
  // TensorFlow tells standard error about the processor at every start; warnings and errors still come through.
  process.env['TF_CPP_MIN_LOG_LEVEL'] ??= '1';
  // TensorFlow turns oneDNN's products on by itself on some processors only. With AVX2 alone they save a fifth of a step of
  // training, two thirds of attention's small products. Whatever the level, two lines on standard error say that they are on.
  process.env['TF_ENABLE_ONEDNN_OPTS'] ??= '1';
  const tf = quietly(() => search.found.require('@tensorflow/tfjs-node') as Tfjs);
  const notes = [`node: ${threadsOfProcess} threads, on whose number the last bits of a result depend`];
  if (threads !== undefined && threads !== threadsOfProcess) {
    notes.push(`node: ${threads} threads were asked for, but an engine of this process has started with others`);
  }
  return { tf, backend: 'tensorflow', name: 'tfjs-node', notes };
}

/**
 * tfjs-node brings a tfjs-core of its own when it is not deduplicated. All copies share the engine and the registries of
 * kernels and gradients on `globalThis`, so that they work together, but every kernel of the cpu backend that comes a
 * second time costs a line on the console, 150 of them, and Node's platform another.
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
