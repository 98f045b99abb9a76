import type { QuantizedTensor, Tuner } from '@q/core';
import { forecastTraining, trainedParameters } from './memory.js';
import { adamW } from './optimizers/adamw.js';
import { cosine } from './optimizers/schedule.js';
import { learnedStep, refuseLearnedStep } from './parameters/learned-step.js';
import { type PeqaOptions, scalesTuning } from './peqa.js';
import { refuseReordered } from './qaft.js';
import { scopedStore } from './scoped-store.js';
import { blockLosses } from './sign-round.js';
import { nearestInCells } from './start-weights.js';
import { tuneBlocks } from './tune-blocks.js';
import { forecastTuning, quantizedModules, tunedModules, tuneModel, tuningFigures } from './tune-model.js';

export interface EfficientQatOptions {
  /** Passes over the windows for each block. Default 10. */
  readonly blockEpochs?: number;
  /** Windows a step, in both phases. Default 8. */
  readonly batch?: number;
  /** Peak learning rates of the first phase. Default: 5e-4 for weights, 1e-4 for scales, 1e-3 for zero points. */
  readonly blockRates?: { readonly weight?: number; readonly scale?: number; readonly zero?: number };
  /** The second phase. Default: 5 epochs on the teacher's loss, rate 1e-4. */
  readonly scales?: PeqaOptions;
  readonly memory?: number;
}

/**
 * EfficientQAT (arXiv 2407.11062): all parameters of one block at a time against the unquantized block's output
 * (Block-AP), then the scales of all of them on the end loss (E2E-QP, which is PEQA's training).
 */
export function efficientQat(options: EfficientQatOptions = {}): Tuner {
  const { blockEpochs = 10, batch = 8, memory } = options;
  const rates = { weight: 5e-4, scale: 1e-4, zero: 1e-3, ...options.blockRates };
  const scales: PeqaOptions = { loss: 'teacher', batch, memory, ...options.scales };
  const blockSteps = (count: number) => blockEpochs * Math.max(1, Math.floor(count / batch));
  return {
    name: 'efficient-qat',
    options: { blockEpochs, batch, rates, scales: { ...scales } },
    readsHiddenStates: true,
    refuse: refuseLearnedStep,
    forecast(model, modules, windows) {
      const shape = { batch, checkpointing: false, optimizer: adamW(), weights: true, teacher: false, blockWise: true };
      const blocks = forecastTraining(model, modules, windows, shape, blockSteps(windows.count));
      const whole = forecastTuning(model, modules, windows, scalesTuning(scales, windows.count));
      const names = new Set([...Object.keys(blocks.memory), ...Object.keys(whole.memory)]);
      return {
        memory: Object.fromEntries(
          [...names].map((name) => [name, Math.max(blocks.memory[name] ?? 0, whole.memory[name] ?? 0)]),
        ),
        operations: blocks.operations + whole.operations,
      };
    },
    async tune(input, context) {
      const { count } = input.windows;
      const steps = blockSteps(count);
      const blocks = await tuneBlocks(
        input,
        {
          parameterize(original, start) {
            refuseReordered(start);
            return learnedStep(nearestInCells(original, start), start.scheme, start, { grids: context.kernels.grids });
          },
          optimizer: adamW,
          schedule: cosine({ final: 1 / 20 }),
          rates,
          steps,
          batch,
          clipNorm: 1,
          keepBest: false,
          task: 'block-ap',
        },
        context,
        scopedStore(input.store, 'blocks'),
      );
      const start = new Map<string, QuantizedTensor>();
      for (const [module, each] of blocks.modules) start.set(module, each.quantized());
      const tuned = await tuneModel(
        { ...input, start },
        { ...scalesTuning(scales, count), task: 'e2e-qp' },
        context,
        scopedStore(input.store, 'scales'),
      );
      return {
        modules: quantizedModules(tuned),
        figures: {
          ...tuningFigures(tuned),
          steps: steps * blocks.losses.length + tuned.result.steps,
          trainedParameters: trainedParameters(tunedModules(input), true),
          ...blockLosses(blocks.losses),
        },
        notes: tuned.notes,
      };
    },
  };
}
