import type { Windows } from '@q/calib';
import type { Checkpoint } from '@q/checkpoint';
import type { Context, ModelDescription } from '@q/core';
import { type EndLoss, endLossStatistics } from '@q/end-loss';
import type { Compute } from './engine.js';

/**
 * The effect of calibration tokens and outputs on the end loss of the unquantized model: one forward and one backward
 * pass.
 */
export async function endLossOf(
  checkpoint: Checkpoint,
  windows: Windows,
  compute: Compute,
  context: Context,
): Promise<EndLoss> {
  const model = checkpoint.model as ModelDescription;
  const engine = await compute.training(model, false);
  try {
    return await endLossStatistics({ model, engine, source: checkpoint, windows }, context);
  } finally {
    await engine.dispose();
  }
}
