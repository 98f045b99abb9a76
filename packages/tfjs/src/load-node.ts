import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import util from 'node:util';
import type { LoadedBackend } from './engine.js';
import type { Tfjs } from './handle.js';

// The ES modules of tfjs import without file extensions, which Node does not resolve: its CommonJS builds are loaded.
const require = createRequire(import.meta.url);

/** tfjs-core with the wasm backend, its binaries found in the package. */
export function loadWasm(): LoadedBackend {
  const tf = require('@tensorflow/tfjs-core') as Tfjs;
  const wasm = require('@tensorflow/tfjs-backend-wasm') as typeof import('@tensorflow/tfjs-backend-wasm');
  wasm.setWasmPaths(join(dirname(require.resolve('@tensorflow/tfjs-backend-wasm')), '/'));
  return { tf, backend: 'wasm', name: 'tfjs-wasm' };
}

/** tfjs-core with the plain JavaScript backend. */
export function loadCpu(): LoadedBackend {
  const tf = require('@tensorflow/tfjs-core') as Tfjs;
  require('@tensorflow/tfjs-backend-cpu');
  return { tf, backend: 'cpu', name: 'tfjs-cpu' };
}

/** Whether `@tensorflow/tfjs-node` is installed beside this package; it may still fail to load. */
export function isNodeBackendInstalled(): boolean {
  try {
    require.resolve('@tensorflow/tfjs-node');
    return true;
  } catch {
    return false;
  }
}

/**
 * The native backend.
 * @throws Error when the package or its binary is absent
 */
export function loadNode(): LoadedBackend {
  // tfjs-node 4.22 calls two functions that Node 23 has removed (tensorflow/tfjs#8609).
  const legacy = util as unknown as Record<string, unknown>;
  legacy['isNullOrUndefined'] ??= (value: unknown) => value === null || value === undefined;
  legacy['isArray'] ??= Array.isArray;
  const tf = require('@tensorflow/tfjs-node') as Tfjs;
  return { tf, backend: 'tensorflow', name: 'tfjs-node' };
}
