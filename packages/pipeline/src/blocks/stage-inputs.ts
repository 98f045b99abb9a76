import type { StagePart } from '@q/blockwise';
import type { Stage } from '@q/core';
import type { PlannedModule } from '../plan/plan.js';

/** Linears of a stage that read the same part of its state. */
export interface StageInput {
  /** `input`, or the part of an expert. */
  readonly part: string;
  /** True if the part has only the tokens that a router chose. */
  readonly routed: boolean;
  /** Exponent of the weights of their tokens; 0 if all tokens have equal weight. See `Quantizer.endLoss`. */
  readonly weighted: number;
  readonly modules: readonly PlannedModule[];
}

/** The planned linears of a stage, grouped by their input, in the order of the stage. */
export function stageInputs(stage: Stage, planned: readonly PlannedModule[]): readonly StageInput[] {
  const groups = new Map<string, { part: string; weighted: number; modules: PlannedModule[] }>();
  for (const module of planned) {
    const part = stage.inputs?.get(module.linear.module) ?? 'input';
    const weighted = module.quantizer.endLoss?.tokens ?? 0;
    const key = `${part}, ${weighted}`;
    const group = groups.get(key) ?? { part, weighted, modules: [] };
    groups.set(key, { ...group, modules: [...group.modules, module] });
  }
  return [...groups.values()].map((group) => ({ ...group, routed: group.part !== 'input' }));
}

/**
 * The same tokens in two models. A router may send a token to an expert in only one of them. The result has only tokens
 * that both models send there, in the order of the batch.
 */
export function commonTokens(own: StagePart, other: StagePart): { own: StagePart; other: StagePart } {
  const [a, b] = [own.tokenOf, other.tokenOf];
  if (!a || !b) return { own, other };
  const rows: [number, number][] = [];
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    if (a[i] === b[j]) rows.push([i++, j++]);
    else if (a[i] < b[j]) i++;
    else j++;
  }
  return {
    own: pickRows(
      own,
      rows.map(([i]) => i),
    ),
    other: pickRows(
      other,
      rows.map(([, j]) => j),
    ),
  };
}

function pickRows({ x, width, tokenOf }: StagePart, rows: readonly number[]): StagePart {
  const out = new Float32Array(rows.length * width);
  for (const [to, from] of rows.entries()) out.set(x.subarray(from * width, (from + 1) * width), to * width);
  return {
    x: out,
    tokens: rows.length,
    width,
    ...(tokenOf ? { tokenOf: Float32Array.from(rows, (row) => tokenOf[row]) } : {}),
  };
}
