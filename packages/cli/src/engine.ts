import { type Kernels, referenceKernels } from '@q/core';
import { createWasmKernels } from '@q/kernels-wasm';
import { createEngine, type TfjsEngine } from '@q/tfjs';
import { UsageError } from './usage-error.js';

const backends = ['auto', 'wasm', 'cpu', 'node'] as const;
export type Backend = (typeof backends)[number];

export interface Compute {
  readonly kernels: Kernels;
  /** What is not as one would expect, for the report. */
  readonly notes: readonly string[];
  engine(): Promise<TfjsEngine>;
  dispose(): Promise<void>;
}

/** Kernels and engine that the options ask for. Engines are made on demand: data-free runs need none. */
export async function createCompute(options: {
  readonly engine?: string;
  readonly threads?: number;
}): Promise<Compute> {
  const backend = (options.engine ?? 'auto') as Backend;
  if (!backends.includes(backend))
    throw new UsageError(`--engine ${options.engine}: ${backends.join(', ')} was expected`);
  const notes: string[] = [];
  const kernels: Kernels = await createWasmKernels({ threads: options.threads }).catch((error: Error) => {
    notes.push(`the wasm kernels could not start (${error.message}): the slow reference kernels are used`);
    return referenceKernels;
  });
  return {
    kernels,
    notes,
    engine: () => createEngine({ backend, kernels, threads: options.threads }),
    dispose: () => kernels.dispose(),
  };
}
