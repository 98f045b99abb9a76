import { openCheckpoint } from '@q/checkpoint';
import { calibrationBatch, type Plan, planRun, recipeJSON } from '@q/pipeline';
import { type RecipeOptions, recipeFrom, wholeNumber } from '../recipe-options.js';
import { knownLayouts } from '../registry.js';
import type { Terminal } from '../terminal.js';
import { formatBytes, formatSeconds, formatTable } from '../units.js';

export interface PlanOptions extends RecipeOptions {
  readonly samples?: string;
  readonly length?: string;
  readonly json?: boolean;
}

/** `q plan MODEL`: what would happen, before anything is computed. */
export async function planCommand(path: string, options: PlanOptions, terminal: Terminal): Promise<void> {
  const recipe = await recipeFrom(options);
  const checkpoint = await openCheckpoint(path, knownLayouts);
  try {
    const plan = planRun(checkpoint, recipe, calibrationShape(options));
    if (options.json) terminal.printJson(planJSON(plan));
    else terminal.print(planText(plan));
  } finally {
    await checkpoint.close();
  }
}

export function calibrationShape(options: { readonly samples?: string; readonly length?: string }) {
  return {
    samples: wholeNumber('--samples', options.samples, 1) ?? 128,
    length: wholeNumber('--length', options.length, 2) ?? 256,
    batch: calibrationBatch,
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
  const { memory, seconds } = plan.forecast;
  const parts = Object.entries(memory)
    .filter(([name]) => name !== 'total')
    .map(([name, bytes]) => `${name} ${formatBytes(bytes)}`);
  return [
    table,
    '',
    `${formatBytes(plan.bytesBefore)} -> ${formatBytes(plan.bytesAfter)} (${((100 * plan.bytesAfter) / plan.bytesBefore).toFixed(1)} %), ` +
      `${plan.bitsPerWeight.toFixed(3)} bits per weight in ${plan.modules.size} quantized linears`,
    `memory about ${formatBytes(memory.total)} (${parts.join(', ')}); time about ${formatSeconds(seconds)}`,
    ...plan.notes.map((note) => `note: ${note}`),
  ].join('\n');
}
