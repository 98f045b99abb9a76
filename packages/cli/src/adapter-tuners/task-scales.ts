import {
  type Declaration,
  dequantize,
  type ModelDescription,
  pickOptions,
  type QuantizedTensor,
  SchemeError,
} from '@q/core';
import { measuredBytes, type PeqaOptions, peqa, peqaOptions, tasks, tunedModules } from '@q/qat';
import type { AdapterTuner, Weights } from './adapter-tuner.js';
import { integersChecksum, quantizedLinears, writeTask } from './task-folder.js';

/** PEQA for a quantized model: its integers stay, and the scales of a task are written to another folder. */
function taskScales(options: PeqaOptions): AdapterTuner {
  const tuner = peqa(options);
  return {
    options: { ...tuner.options },
    refuse: ({ path, quantizedModules }) =>
      quantizedModules.length === 0
        ? `${path} is not quantized: PEQA trains the scales of a quantized model: run q quantize first`
        : undefined,
    async forecast(checkpoint, windows) {
      const model = checkpoint.model as ModelDescription;
      const start = await quantizedLinears(checkpoint);
      const refusal = [...start.values()].map(({ scheme }) => tuner.refuse?.(scheme)).find(Boolean);
      if (refusal) throw new SchemeError(refusal);
      tuner.forecast(model, tunedModules({ model, start }), windows);
    },
    async run({ checkpoint, engine, windows, store, out, context, files }) {
      const model = checkpoint.model as ModelDescription;
      const start = await quantizedLinears(checkpoint);
      const source = { weight: (name: string) => checkpoint.weight(name) };
      const memory = tuner.forecast(model, tunedModules({ model, start }), windows).memory;
      const { modules, figures, notes } = await tuner.tune({ model, engine, source, start, windows, store }, context);
      const known = tasks(start);
      known.add('task', new Map([...modules].map(([module, { scales }]) => [module, scales])));
      const integers = integersChecksum(start);
      const task = await writeTask(out, known, 'task', { path: checkpoint.path, integers }, { files });
      const trained: Weights = async (name) => {
        const quantized: QuantizedTensor | undefined = name.endsWith('.weight')
          ? modules.get(name.replace(/\.weight$/, ''))
          : undefined;
        return quantized ? dequantize(quantized) : checkpoint.weight(name);
      };
      return {
        ...{ files: task.files, memory, taskBytes: task.bytes, notes },
        measuredMemory: measuredBytes(figures),
        steps: figures.steps,
        loss: figures.loss,
        trainedParameters: figures.trainedParameters,
        secondsPerStep: figures.secondsPerStep,
        variants: new Map([['with the task', trained]]),
      };
    },
  };
}

const options = pickOptions(
  peqaOptions,
  ...(['epochs', 'batch', 'rate', 'heldOut', 'checkpointing', 'memory'] as const),
);

export const peqaTuner: Declaration<AdapterTuner, typeof options> = {
  name: 'peqa',
  summary: 'the scales of a quantized model, its integers stay',
  options,
  make: (given) => taskScales({ loss: 'labels', ...given }),
};
