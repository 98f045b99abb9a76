import { describeScheme, elementCount } from '@q/core';
import { byteLength } from '@q/safetensors';
import type { GuardedResult } from '../blocks/guard.js';
import type { Plan, PlannedModule } from '../plan/plan.js';
import type { ModuleRow } from './report.js';

/** The report's row of a module. */
export function moduleRow(
  plan: Plan,
  { linear, scheme, ...planned }: PlannedModule,
  { report, error, rtnError, targetShift }: GuardedResult,
): ModuleRow {
  const { module, outFeatures, inFeatures } = linear;
  const shape = [outFeatures, inFeatures];
  return {
    module,
    method: report.method,
    outcome: report.outcome ?? { kind: 'requested' },
    scheme: describeScheme(scheme),
    shape,
    bytesBefore: plan.rows.find(({ name }) => name === `${module}.weight`)?.bytesBefore ?? 4 * elementCount(shape),
    bytesAfter: plan.recipe.layout
      .plan({ linear, scheme, ...planned })
      .reduce((sum, part) => sum + byteLength(part), 0),
    tokens: report.tokens,
    error,
    rtnError,
    ...(targetShift === undefined ? {} : { targetShift }),
    figures: report.figures,
    notes: report.notes,
  };
}
