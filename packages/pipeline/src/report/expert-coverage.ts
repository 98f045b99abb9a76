import type { ModelDescription } from '@q/core';
import type { ModuleRow } from './report.js';

/** How well calibration covered one expert. */
export interface ExpertRow {
  /** `model.layers.0.block_sparse_moe.experts.3` */
  readonly expert: string;
  /** Calibration tokens that its linears were quantized with; the fewest of them. */
  readonly tokens: number;
  /** Of all tokens that the router gave to experts of this block. */
  readonly share: number;
  /** False when there were too few, and it was rounded to nearest instead of the method asked for. */
  readonly calibrated: boolean;
}

/**
 * The coverage of every expert of which a linear was quantized with calibration; none for models without experts.
 * @param calibrated whether a method that learns from calibration was asked for, by module
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
