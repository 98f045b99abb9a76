import { join } from 'node:path';
import { type Checkpoint, gptqLayout, openCheckpoint } from '@q/checkpoint';
import { createContext, int4, type ModelDescription, minMax, perGroup, scheme } from '@q/core';
import { gptq } from '@q/gptq';
import { rtn } from '@q/rtn';
import { createEngine } from '@q/tfjs';
import { expect, it } from 'vitest';
import { planRun } from '../plan/plan.js';
import { demoModel, demoWindows } from '../testing/demo-model.js';
import { workbench } from '../testing/workbench.js';
import { runPlan } from './run.js';

const layout = gptqLayout();
const at = workbench();

it.each([
  ['beside the unquantized model', gptq({ fit: minMax(), importance: 'none', refineRounds: 0, ranges: [1] })],
  ['by itself', gptq({ fit: minMax(), importance: 'none', retarget: 0, refineRounds: 0, ranges: [1] })],
  ['without a model', rtn()],
])('each weight is read and decoded once a run, %s', async (name, quantizer) => {
  const source = await openCheckpoint(demoModel, [layout]);
  const reads = new Map<string, number>();
  const rows: (readonly [string, number])[] = [];
  const counted: Checkpoint = {
    ...source,
    weight(tensor, into) {
      reads.set(tensor, (reads.get(tensor) ?? 0) + 1);
      return source.weight(tensor, into);
    },
    rows(tensor, some) {
      reads.set(tensor, (reads.get(tensor) ?? 0) + 1);
      rows.push([tensor, some.length]);
      return source.rows(tensor, some);
    },
  };
  try {
    const rules = [{ match: /layers/, quantizer, scheme: scheme({ format: int4, granularity: perGroup(32) }) }];
    const plan = planRun(counted, { layout, rules, seed: 0 });
    const calibration = await demoWindows(32, 2);
    await runPlan(plan, {
      out: join(at.folder, name),
      context: createContext({ kernels: at.kernels }),
      ...(plan.calibrated ? { calibration } : {}),
      engine: () => createEngine({ kernels: at.kernels }),
    });
    for (const module of plan.modules.keys()) expect(reads.get(`${module}.weight`), module).toBe(1);
    expect(Math.max(...reads.values())).toBe(1);
    const { tokenTable } = source.model as ModelDescription;
    expect(rows).toEqual(plan.calibrated ? [[tokenTable, new Set(calibration.ids).size]] : []);
  } finally {
    await source.close();
  }
});
