import { CalibrationError, SchemeError } from '@q/core';
import type { Recipe } from '../recipe/recipe.js';

/**
 * The plan's note about the shards of the calibration windows; undefined for one shard.
 * @param walks whether the run sends the windows through the model
 * @param windows number of windows, if it is known
 * @throws SchemeError when the run collects no statistics; CalibrationError when there are more shards than windows
 */
export function shardNote(recipe: Recipe, walks: boolean, windows: number | undefined): string | undefined {
  const { windowShards = 1 } = recipe;
  if (windowShards === 1) return undefined;
  if (!walks)
    throw new SchemeError(
      `--window-shards ${windowShards}: no method of the recipe collects statistics of calibration windows: leave it out`,
    );
  if (windows !== undefined) checkShards(windowShards, windows);
  return `the calibration windows are cut into ${windowShards} shards, whose statistics are added in order: with --queue the workers compute them`;
}

/** @throws CalibrationError when there are more shards than windows */
export function checkShards(shards: number, windows: number): void {
  if (shards > windows)
    throw new CalibrationError(
      `--window-shards ${shards}: there are only ${windows} calibration windows: use at most as many shards`,
    );
}
