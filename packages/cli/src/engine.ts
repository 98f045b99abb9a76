import { type Kernels, referenceKernels } from '@q/core';
import { createEngine, type TfjsEngine } from '@q/tfjs';
import { UsageError } from './usage-error.js';

const backends = ['auto', 'wasm', 'cpu', 'node'] as const;
type Backend = (typeof backends)[number];

export interface Compute {
  readonly kernels: Kernels;
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
  const kernels = referenceKernels;
  return {
    kernels,
    engine: () => createEngine({ backend, kernels }),
    dispose: () => kernels.dispose(),
  };
}
