import { type Engine, type ForwardEngine, type Kernels, type ModelDescription, referenceKernels } from '@q/core';
import { createForwardEngine, createTrainingEngine } from '@q/kernels-wasm';
import { createEngine, nativeAbsence, type TfjsEngine } from '@q/tfjs';
import { openHostKernels } from './host-kernels.js';
import { ownForwardPays, ownTrainingPays } from './own-engine-pays.js';
import { UsageError } from './usage-error.js';
import { openWebgpuKernels } from './webgpu-kernels.js';

const engineNames = ['auto', 'wasm', 'cpu', 'node', 'node-bf16'] as const;
export type EngineName = (typeof engineNames)[number];
const kernelChoices = ['wasm', 'webgpu'] as const;

export interface Compute {
  readonly kernels: Kernels;
  /** Sentences for the report about everything unusual. */
  readonly notes: readonly string[];
  /** tfjs: forward passes and gradients for every use. */
  engine(): Promise<TfjsEngine>;
  /**
   * Only forward passes of a model: on wasm an engine of the kernels' own, else the same as `engine`.
   * @param portable true: several machines compute parts of one result. `auto` is then the kernels' own engine, because
   *   the bits of the native one depend on threads and processor.
   */
  forward(model: ModelDescription, portable?: boolean): Promise<ForwardEngine<any>>;
  /**
   * Passes of a token at a time: the kernels' own engine, which has products on packed codes, unless another is
   * requested.
   */
  generation(): Promise<ForwardEngine<any>>;
  /**
   * Forward passes and gradients of a model: on wasm an engine of the kernels' own, else the same as `engine`.
   * @param blockByBlock whether no step computes logits
   */
  training(model: ModelDescription, blockByBlock: boolean): Promise<Engine<any>>;
  dispose(): Promise<void>;
}

/** Kernels and engine for the options. Engines are made on demand: data-free runs need none. */
export async function createCompute(options: {
  readonly engine?: string;
  readonly threads?: number;
  /** `wasm`, or `webgpu`; without a GPU, or when it fails, the others go on, and the notes say so. Default `wasm`. */
  readonly kernels?: string;
}): Promise<Compute> {
  const requested = (options.engine ?? 'auto') as EngineName;
  if (!engineNames.includes(requested))
    throw new UsageError(`--engine ${options.engine}: ${engineNames.join(', ')} was expected`);
  const choice = options.kernels ?? 'wasm';
  if (!kernelChoices.some((known) => known === choice))
    throw new UsageError(`--kernels ${choice}: ${kernelChoices.join(', ')} was expected`);
  const notes: string[] = [];
  const host = await openHostKernels(options.threads, (note) => notes.push(note));
  const { threads } = options;
  const engine = () => createEngine({ backend: requested, kernels: host, threads });
  const kernels =
    choice === 'webgpu'
      ? await openWebgpuKernels(host, (note) => notes.push(note)).catch((error: Error) => {
          notes.push(`the WebGPU kernels could not start (${error.message}): ${host.name} is used`);
          return host;
        })
      : host;
  const nativePresent = nativeAbsence() === undefined;
  const has = host !== referenceKernels;
  return {
    kernels,
    notes,
    engine,
    forward: async (model, portable) =>
      has && ownForwardPays(requested, model, nativePresent && !portable) ? createForwardEngine({ threads }) : engine(),
    generation: async () =>
      has && (requested === 'auto' || requested === 'wasm') ? createForwardEngine({ threads }) : engine(),
    training: async (model, blockByBlock) =>
      has && ownTrainingPays(requested, model, nativePresent, blockByBlock)
        ? createTrainingEngine({ threads })
        : engine(),
    dispose: () => kernels.dispose(),
  };
}
