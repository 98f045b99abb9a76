import type { EngineOptions, TfjsEngine } from './engine.js';
import { isNodeBackendInstalled, loadCpu, loadNode, loadWasm } from './load-node.js';
import { type BackendChoice, type Candidate, selectBackend } from './select-backend.js';

const candidates: readonly Candidate[] = [
  {
    choice: 'node',
    absent: () => (isNodeBackendInstalled() ? undefined : '@tensorflow/tfjs-node is not installed'),
    load: loadNode,
  },
  { choice: 'wasm', load: loadWasm },
  { choice: 'cpu', load: loadCpu },
];

/**
 * Makes an engine in Node. `auto` takes tfjs-node when it is installed, else wasm, else cpu; why is in `engine.notes`.
 * @throws SchemeError when the backend asked for does not start
 */
export function createEngine(options: EngineOptions & { readonly backend?: BackendChoice } = {}): Promise<TfjsEngine> {
  return selectBackend(candidates, options.backend ?? 'auto', options);
}
