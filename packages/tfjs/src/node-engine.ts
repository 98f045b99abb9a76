import { bf16Absence } from './bf16-products.js';
import type { EngineOptions, TfjsEngine } from './engine.js';
import { loadCpu, loadNode, loadWasm, nativeAbsence } from './load-node.js';
import { type BackendChoice, type Candidate, selectBackend } from './select-backend.js';

export interface NodeEngineOptions extends EngineOptions {
  readonly backend?: BackendChoice;
  /**
   * Threads of the native backend (default: all cores). TensorFlow reads the number once a process, when its first
   * operation runs. The wasm backend computes on one thread, and on the threads of `kernels`.
   */
  readonly threads?: number;
}

/**
 * Makes an engine in Node. `auto` takes tfjs-node if it is present, else wasm, else cpu; `engine.notes` states the
 * reason.
 * @throws SchemeError when the requested backend does not start
 */
export function createEngine(options: NodeEngineOptions = {}): Promise<TfjsEngine> {
  const candidates: readonly Candidate[] = [
    { choice: 'node', absent: nativeAbsence, load: () => loadNode({ threads: options.threads }) },
    {
      choice: 'node-bf16',
      onlyOnRequest: true,
      absent: () => nativeAbsence() ?? bf16Absence(),
      load: () => loadNode({ threads: options.threads, bf16: true }),
    },
    { choice: 'wasm', load: loadWasm },
    { choice: 'cpu', load: loadCpu },
  ];
  return selectBackend(candidates, options.backend ?? 'auto', options);
}
