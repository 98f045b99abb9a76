import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { adapterWeightsName, writeAdapter } from '@q/checkpoint';
import {
  type Declaration,
  dequantize,
  type ModelDescription,
  pickOptions,
  quantize,
  type Scheme,
  schemes,
  type Tensor,
} from '@q/core';
import { mergeLowRank, type QloraOptions, qlora, qloraOptions } from '@q/qat';
import type { AdapterTuner, Weights } from './adapter-tuner.js';

/**
 * Trains low-rank factors, for a quantized base (QLoRA) or the original weights (LoRA), and writes an adapter of PEFT.
 */
function lowRankTuner(base: Scheme | 'none', options: QloraOptions): AdapterTuner {
  const trainer = qlora({ ...options, base });
  return {
    options: trainer.options,
    refuse: ({ path, layout, quantizedModules }) =>
      quantizedModules.length > 0
        ? `${path} is already quantized (${layout}): start from the original model, which is quantized as it is read`
        : undefined,
    async forecast({ model }, windows) {
      trainer.forecast(model as ModelDescription, windows);
    },
    async run({ checkpoint, engine, windows, store, out, context, files: system }) {
      const model = checkpoint.model as ModelDescription;
      const source = { weight: (name: string) => checkpoint.weight(name) };
      const trained = await trainer.train({ model, engine, source, windows, store }, context);
      const { adapter, training, trainedParameters, memory, measuredMemory } = trained;
      const files = await writeAdapter(out, adapter, model, checkpoint.path, { files: system });
      const { size } = await stat(join(out, adapterWeightsName));
      /** Linears changed by `change` from the stored and the frozen weight; all other tensors stay as they are. */
      const linears = (change: (module: string, frozen: Tensor<'f32'> | undefined) => Promise<Tensor<'f32'>>) => {
        const weights: Weights = async (name) => {
          const module = name.replace(/\.weight$/, '');
          const frozen = trained.base.get(module);
          const known = name.endsWith('.weight') && (frozen || adapter.modules.has(module));
          return known ? change(module, frozen && dequantize(frozen)) : checkpoint.weight(name);
        };
        return weights;
      };
      const merged = (module: string, weight: Tensor<'f32'>) => {
        const pair = adapter.modules.get(module);
        return pair ? mergeLowRank(weight, pair, adapter.alpha / adapter.rank) : weight;
      };
      const stored = (module: string) => checkpoint.weight(`${module}.weight`);
      const variants = new Map<string, Weights>([
        ['with the adapter', linears(async (module, frozen) => merged(module, frozen ?? (await stored(module))))],
      ]);
      if (base !== 'none') {
        variants
          .set(
            'base alone, quantized',
            linears(async (_, frozen) => frozen as Tensor<'f32'>),
          )
          .set(
            'merged into the original weights',
            linears(async (module) => merged(module, await stored(module))),
          )
          .set(
            'merged and quantized again',
            linears(async (module, frozen) =>
              dequantize(quantize(merged(module, frozen as Tensor<'f32'>), base, { kernels: context.kernels })),
            ),
          );
      }
      const { steps, loss, secondsPerStep } = training;
      return {
        ...{ files, steps, loss, trainedParameters, secondsPerStep, taskBytes: size, variants },
        ...{ memory, measuredMemory },
        notes: training.stoppedEarly ? [`stopped after ${steps} steps: the held-out loss no longer fell`] : [],
      };
    },
  };
}

const options = pickOptions(
  qloraOptions,
  ...(['rank', 'alpha', 'dropout', 'epochs', 'batch', 'rate', 'heldOut', 'checkpointing', 'memory'] as const),
);

export const qloraTuner: Declaration<AdapterTuner, typeof options> = {
  name: 'qlora',
  summary: 'low-rank factors over weights that are frozen in NF4',
  options,
  make: (given) => lowRankTuner(schemes.nf4DoubleQuantized, given),
};

export const loraTuner: Declaration<AdapterTuner, typeof options> = {
  name: 'lora',
  summary: 'low-rank factors over the weights as they are',
  options,
  make: (given) => lowRankTuner('none', given),
};
