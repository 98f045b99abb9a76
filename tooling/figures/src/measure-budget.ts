import { gptqLayout, openCheckpoint } from '@q/checkpoint';
import { createContext, type Kernels, type Quantizer } from '@q/core';
import { type Budget, checkpointSensitivity, fitToBudget } from '@q/pipeline';
import { createEngine } from '@q/tfjs';
import { asymmetric, type MeasuredRun, measureRecipe, type Subject } from './measure-recipe.js';

/** Calibration windows that sensitivities are measured on. */
const sensitivityWindows = 16;

/** Chooses the width of each unit within a budget by what the whole model loses, quantizes, and measures as the others. */
export async function measureBudget(
  subject: Subject,
  quantizer: Quantizer,
  budget: Budget,
  group: number,
  kernels: Kernels,
): Promise<MeasuredRun> {
  const layout = gptqLayout();
  const source = await openCheckpoint(subject.folder, [layout]);
  const candidates = [2, 3, 4, 8].map((bits) => asymmetric(bits, group));
  const { ids, length } = subject.calibration;
  const windows = { ids: ids.subarray(0, sensitivityWindows * length), count: sensitivityWindows, length };
  const open = { layout, rules: [{ match: /^(?!lm_head$)/, quantizer, candidates }], seed: 0 };
  const { recipe } = await fitToBudget(source, open, budget, (units) =>
    checkpointSensitivity(source, open, units, {
      context: createContext({ kernels }),
      engine: () => createEngine({ kernels }),
      windows,
    }),
  );
  await source.close();
  return measureRecipe(subject, quantizer, candidates[0], kernels, { rules: recipe.rules });
}
