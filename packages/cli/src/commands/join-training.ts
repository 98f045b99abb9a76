import { createContext, type ModelDescription } from '@q/core';
import { planRun, trainAlong } from '@q/pipeline';
import type { CommandContext, FlagValues } from '../command.js';
import { createCompute } from '../engine.js';
import { openModel } from '../open-model.js';
import { recipeFrom } from '../recipe-flags.js';
import { joinTraining, type WorkerFlags } from '../training-workers.js';
import { calibrationShape } from './plan.js';

export interface JoinOptions extends FlagValues, WorkerFlags {
  readonly samples?: number;
  readonly length?: number;
  readonly engine?: string;
  readonly kernels?: string;
}

/** `q quantize ... --join ADDRESS`: joins the training of worker 0, which writes the model. */
export async function joinTrainingCommand(
  path: string,
  options: JoinOptions,
  { terminal, signal, vocabulary }: CommandContext,
): Promise<void> {
  const { recipe } = await recipeFrom(options, vocabulary);
  const checkpoint = await openModel(path, vocabulary);
  const compute = await createCompute(options);
  try {
    const plan = planRun(checkpoint, recipe, calibrationShape(options));
    const workers = await joinTraining(recipe, options, signal);
    try {
      const engine = await compute.training(plan.model as ModelDescription, false);
      try {
        const { kernels } = compute;
        await trainAlong(
          plan,
          engine,
          workers,
          createContext({ kernels, seed: recipe.seed, logger: terminal.logger, signal }),
        );
        terminal.note(`worker ${workers.group.rank} of ${workers.group.workers}: the training is done`);
      } finally {
        await engine.dispose();
      }
    } finally {
      await workers.close();
    }
  } finally {
    await compute.dispose();
    await checkpoint.close();
  }
}
