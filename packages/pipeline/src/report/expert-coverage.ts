import type { ModelDescription } from '@q/core';
import type { ModuleRow } from './report.js';

/** The calibration coverage of one expert. */
export interface ExpertRow {
  /** `model.layers.0.block_sparse_moe.experts.3` */
  readonly expert: string;
  /** The number of calibration tokens with which its linears were quantized: the fewest of them. */
  readonly tokens: number;
  /** Share of all tokens that the router gave to experts of this block. */
  readonly share: number;
  /** False if there were too few tokens: the expert was rounded to nearest instead of by the requested method. */
  readonly calibrated: boolean;
}

/**
 * The coverage of every expert that was quantized with calibration; empty for models without experts.
 * @param calibrated whether a method that reads calibration statistics was requested, by module
 */
export function expertCoverage(
  model: ModelDescription,
  layers: readonly ModuleRow[],
  calibrated: (module: string) => boolean,
): readonly ExpertRow[] {
  const byModule = new Map(layers.map((row) => [row.module, row]));
  return model.blocks.flatMap(({ experts = [] }) => {
    const rows = experts.flatMap(({ name, linears }) => {
      const own = linears.filter(calibrated).flatMap((module) => byModule.get(module) ?? []);
      if (own.length === 0) return [];
      const tokens = Math.min(...own.map((row) => row.tokens));
      return [{ expert: name, tokens, calibrated: own.every(reachedByEnough) }];
    });
    const total = rows.reduce((sum, { tokens }) => sum + tokens, 0);
    return rows.map((row) => ({ ...row, share: total > 0 ? row.tokens / total : 0 }));
  });
}

const reachedByEnough = ({ outcome }: ModuleRow) => outcome.kind !== 'fallback' || outcome.reason !== 'fewTokens';
