import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type CheckpointWriter, gptqLayout, openCheckpoint } from '@q/checkpoint';
import { createContext, int4, type Kernels, perGroup, referenceKernels, scheme } from '@q/core';
import { rtn } from '@q/rtn';
import { expect, it } from 'vitest';
import { planRun } from '../plan/plan.js';
import type { ModuleRow } from '../report/report.js';
import type { Journal } from '../resume/journal.js';
import { demoModel } from '../testing/demo-model.js';
import { workbench } from '../testing/workbench.js';
import { runPlan } from './run.js';
import { runDataFree } from './run-data-free.js';

const layout = gptqLayout();
const rule = { match: /layers/, quantizer: rtn(), scheme: scheme({ format: int4, granularity: perGroup(32) }) };

const at = workbench(2);

const openPlan = async () => {
  const source = await openCheckpoint(demoModel, [layout]);
  return { source, plan: planRun(source, { layout, rules: [rule], seed: 0 }) };
};

async function run(
  name: string,
  kernels: Kernels,
  abortAfter = Number.POSITIVE_INFINITY,
): Promise<{ readonly bytes: Buffer; readonly layers: readonly ModuleRow[] }> {
  const { source, plan } = await openPlan();
  const abort = new AbortController();
  const progress = ({ done }: { done: number }) => {
    if (done === abortAfter) abort.abort(new Error('stopped by the test'));
  };
  try {
    const context = createContext({ kernels, progress, signal: abort.signal });
    const { layers } = await runPlan(plan, { out: join(at.folder, name), context });
    return { layers, bytes: await readFile(join(at.folder, name, 'model.safetensors')) };
  } finally {
    await source.close();
  }
}

it('gives the same bytes with kernels and without, and after an interrupt', async () => {
  const plain = await run('plain', referenceKernels);
  const wasm = await run('wasm', at.kernels);
  expect(Buffer.compare(wasm.bytes, plain.bytes)).toBe(0);
  for (const [i, row] of plain.layers.entries()) {
    expect(row.error).toBeGreaterThan(0);
    // Sums in another order.
    for (const key of ['error', 'rtnError'] as const)
      expect(Math.abs(wasm.layers[i][key] - row[key])).toBeLessThan(1e-12 * row[key]);
  }
  await expect(run('resumed', at.kernels, 5)).rejects.toThrow('stopped by the test');
  expect(Buffer.compare((await run('resumed', at.kernels)).bytes, plain.bytes)).toBe(0);
});

it('names a linear in the journal only when all before it is written and synced, and ends with the error of a write', async () => {
  const { source, plan } = await openPlan();
  const events: string[] = [];
  const slowly = () => new Promise((resolve) => setTimeout(resolve, 5));
  const writer = (failsAt: number) =>
    ({
      async writeModule() {
        await slowly();
        if (events.length === failsAt) throw new Error('the disk is full');
        events.push('written');
      },
      async sync() {
        await slowly();
        events.push('synced');
      },
    }) as unknown as CheckpointWriter;
  const journal = {
    finished: new Map(),
    async append({ rows }: { rows: readonly ModuleRow[] }) {
      events.push(`${rows.length} rows`);
    },
  } as unknown as Journal<ModuleRow>;
  const context = createContext({ kernels: at.kernels });
  await runDataFree(plan, writer(-1), journal, context);
  const count = plan.modules.size;
  expect(events).toEqual([...Array(count).fill('written'), 'synced', `${count} rows`]);
  events.length = 0;
  await expect(runDataFree(plan, writer(3), journal, context)).rejects.toThrow('the disk is full');
  expect(events).toEqual(Array(3).fill('written'));
  await source.close();
});
