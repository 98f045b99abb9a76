import { type ForwardEngine, type Kernels, referenceKernels } from '@q/core';
import { createForwardEngine, createWasmKernels } from '@q/kernels-wasm';
import { createEngine, nativeAbsence, type TfjsEngine } from '@q/tfjs';
import { UsageError } from './usage-error.js';

const backends = ['auto', 'wasm', 'cpu', 'node'] as const;
export type Backend = (typeof backends)[number];

export interface Compute {
  readonly kernels: Kernels;
  /** What is not as one would expect, for the report. */
  readonly notes: readonly string[];
  /** Forward passes and gradients. */
  engine(): Promise<TfjsEngine>;
  /** Forward passes alone: on wasm an engine of the kernels' own, else the same as `engine`. */
  forward(): Promise<ForwardEngine<any>>;
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
  const { threads } = options;
  const engine = () => createEngine({ backend, kernels, threads });
  const ownForward = kernels !== referenceKernels && (backend === 'wasm' || (backend === 'auto' && nativeAbsence()));
  return {
    kernels,
    notes,
    engine,
    forward: () => (ownForward ? createForwardEngine({ threads }) : engine()),
    dispose: () => kernels.dispose(),
  };
}
