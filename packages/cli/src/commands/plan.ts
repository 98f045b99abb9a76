import { totalmem } from 'node:os';
import { openCheckpoint } from '@q/checkpoint';
import { createContext } from '@q/core';
import { type Plan, planRun, recipeJSON } from '@q/pipeline';
import { createCompute } from '../engine.js';
import { type RecipeOptions, recipeFrom } from '../recipe-options.js';
import { knownLayouts } from '../registry.js';
import type { Terminal } from '../terminal.js';
import { formatBytes, formatSeconds, formatTable } from '../units.js';
import { wholeNumber } from '../whole-number.js';
import { budgetText, settleBudget } from './budget.js';

export interface PlanOptions extends RecipeOptions {
  readonly samples?: string;
  readonly length?: string;
  /** Only a budget needs text: it is measured before the plan is final. */
  readonly calib?: string;
  readonly sensitivity?: string;
  readonly engine?: string;
  readonly threads?: string;
  readonly kernels?: string;
  readonly json?: boolean;
}

/** `q plan MODEL`: what would happen, before anything is computed. */
export async function planCommand(
  path: string,
  options: PlanOptions,
  terminal: Terminal,
  signal: AbortSignal,
): Promise<void> {
  const requested = await recipeFrom(options);
  const shape = calibrationShape(options);
  const checkpoint = await openCheckpoint(path, knownLayouts);
  const compute = await createCompute({
    engine: options.engine,
    kernels: options.kernels,
    threads: wholeNumber('--threads', options.threads, 1),
  });
  try {
    const context = createContext({
      kernels: compute.kernels,
      seed: requested.recipe.seed,
      logger: terminal.logger,
      progress: terminal.progress,
      signal,
    });
    const { calib, sensitivity } = options;
    const { recipe, budget } = await settleBudget({
      path,
      checkpoint,
      requested,
      calib,
      shape,
      sensitivity,
      compute,
      context,
    });
    const plan = planRun(checkpoint, recipe, shape);
    if (options.json) terminal.printJson({ ...planJSON(plan), ...(budget ? { budget } : {}) });
    else terminal.print([planText(plan), ...(budget ? ['', budgetText(budget)] : [])].join('\n'));
  } finally {
    await compute.dispose();
    await checkpoint.close();
  }
}

export function calibrationShape(options: {
  readonly samples?: string;
  readonly length?: string;
  readonly memory?: string;
}) {
  return {
    samples: wholeNumber('--samples', options.samples, 1) ?? 128,
    length: wholeNumber('--length', options.length, 2) ?? 256,
    memory: wholeNumber('--memory', options.memory, 1) ?? totalmem(),
  };
}

/** The plan for programs. */
function planJSON(plan: Plan): Record<string, unknown> {
  const { checkpoint, rows, bytesBefore, bytesAfter, bitsPerWeight, forecast, calibrated, notes } = plan;
  return {
    model: checkpoint.path,
    architecture: checkpoint.model?.architecture ?? null,
    recipe: recipeJSON(plan.recipe),
    calibrated,
    bytesBefore,
    bytesAfter,
    bitsPerWeight,
    forecast,
    tensors: rows,
    notes,
  };
}

/** The plan for people. */
export function planText(plan: Plan): string {
  const table = formatTable(
    ['tensor', 'shape', 'dtype', 'before', 'after', 'becomes', 'why'],
    plan.rows.map((row) => [
      row.name,
      `[${row.shape.join(', ')}]`,
      row.dtype,
      formatBytes(row.bytesBefore),
      formatBytes(row.bytesAfter),
      row.action === 'quantize' ? `${row.method} ${row.scheme}` : row.action === 'rewrite' ? 'f32' : 'as it is',
      row.why,
    ]),
  );
  const { memory, disk, seconds } = plan.forecast;
  const parts = Object.entries(memory)
    .filter(([name]) => name !== 'total')
    .map(([name, bytes]) => `${name} ${formatBytes(bytes)}`);
  return [
    table,
    '',
    `${formatBytes(plan.bytesBefore)} -> ${formatBytes(plan.bytesAfter)} (${((100 * plan.bytesAfter) / plan.bytesBefore).toFixed(1)} %), ` +
      `${plan.bitsPerWeight.toFixed(3)} bits per weight in ${plan.modules.size} quantized linears`,
    `memory about ${formatBytes(memory.total)} (${parts.join(', ')})${disk === undefined ? '' : `, ${formatBytes(disk)} of activations on the disk`}; time about ${formatSeconds(seconds)}`,
    ...plan.notes.map((note) => `note: ${note}`),
  ].join('\n');
}
