import type { EngineOptions, TfjsEngine } from './engine.js';
import { type BackendChoice, type Candidate, selectBackend } from './select-backend.js';

/**
 * Options of {@link createEngine}. The page has to serve the three wasm binaries of `@tensorflow/tfjs-backend-wasm`.
 */
export interface BrowserEngineOptions extends EngineOptions {
  readonly backend?: BackendChoice;
  /** The folder of the three wasm binaries, with a trailing slash. */
  readonly wasmPath?: string;
}

/**
 * Makes an engine in a page or worker: wasm, else cpu. Bundlers find the ES modules of tfjs by these imports.
 * @throws SchemeError when the requested backend does not start
 */
export function createEngine(options: BrowserEngineOptions = {}): Promise<TfjsEngine> {
  const candidates: readonly Candidate[] = [
    {
      choice: 'wasm',
      async load() {
        const tf = await import('@tensorflow/tfjs-core');
        const wasm = await import('@tensorflow/tfjs-backend-wasm');
        if (options.wasmPath) wasm.setWasmPaths(options.wasmPath);
        return { tf, backend: 'wasm', name: 'tfjs-wasm' };
      },
    },
    {
      choice: 'cpu',
      async load() {
        const tf = await import('@tensorflow/tfjs-core');
        await import('@tensorflow/tfjs-backend-cpu');
        return { tf, backend: 'cpu', name: 'tfjs-cpu' };
      },
    },
  ];
  return selectBackend(candidates, options.backend ?? 'auto', options);
}
