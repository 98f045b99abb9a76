import { totalmem } from 'node:os';
import { createContext } from '@q/core';
import { type Plan, type PlannedRow, planRun, recipeJSON } from '@q/pipeline';
import type { CommandContext, FlagValues } from '../command.js';
import { createCompute } from '../engine.js';
import { openValues } from '../open-model.js';
import { recipeFrom } from '../recipe-flags.js';
import { defaultTextNote } from '../texts.js';
import { formatBytes, formatSeconds, formatTable } from '../units.js';
import { budgetText, settleBudget } from './budget.js';

export interface PlanOptions extends FlagValues {
  readonly samples?: number;
  readonly length?: number;
  readonly memory?: number;
  /** Only a budget needs text: it is measured before the plan is final. */
  readonly calib?: string;
  readonly sensitivity?: string;
  readonly sensitivities?: 'one-pass' | 'walk';
  readonly engine?: string;
  readonly threads?: number;
  readonly kernels?: string;
  readonly json?: boolean;
}

/** `q plan MODEL`: what would happen, before anything is computed. */
export async function planCommand(
  path: string,
  options: PlanOptions,
  { terminal, signal, vocabulary }: CommandContext,
): Promise<void> {
  const requested = await recipeFrom(options, vocabulary);
  const shape = calibrationShape(options);
  const checkpoint = await openValues(path, vocabulary);
  const compute = await createCompute({
    engine: options.engine,
    kernels: options.kernels,
    threads: options.threads,
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
      sensitivities: options.sensitivities,
      compute,
      context,
    });
    const plan = planRun(checkpoint, recipe, shape);
    if (plan.calibrated && calib === undefined && !requested.writesText) terminal.note(`note: ${defaultTextNote}`);
    if (options.json) for (const part of planJSON(plan, budget ? { budget } : {})) terminal.write(part);
    else terminal.print([planText(plan), ...(budget ? ['', budgetText(budget)] : [])].join('\n'));
  } finally {
    await compute.dispose();
    await checkpoint.close();
  }
}

export function calibrationShape(options: {
  readonly samples?: number;
  readonly length?: number;
  readonly memory?: number;
}) {
  return {
    samples: options.samples ?? 128,
    length: options.length ?? 256,
    memory: options.memory ?? totalmem(),
  };
}

/** Rows in one piece of JSON. */
const rowsAtOnce = 1000;

/** The plan for programs: one object, in pieces, since the text of 400,000 rows takes a hundred megabytes. */
function* planJSON(plan: Plan, more: Record<string, unknown>): Generator<string> {
  const { checkpoint, rows, bytesBefore, bytesAfter, bitsPerWeight, forecast, calibrated, notes } = plan;
  const before = JSON.stringify({
    model: checkpoint.path,
    architecture: checkpoint.model?.architecture ?? null,
    recipe: recipeJSON(plan.recipe),
    calibrated,
    bytesBefore,
    bytesAfter,
    bitsPerWeight,
    forecast,
  });
  yield `${before.slice(0, -1)},"tensors":[`;
  for (let at = 0; at < rows.length; at += rowsAtOnce) {
    const part = JSON.stringify(rows.slice(at, at + rowsAtOnce));
    yield `${at > 0 ? ',' : ''}${part.slice(1, -1)}`;
  }
  yield `],${JSON.stringify({ notes, ...more }).slice(1)}\n`;
}

/** More rows than this are summed up: nobody reads them, and a person wants to see what is unlike the rest. */
const mostRows = 2000;

interface ShownRow extends PlannedRow {
  /** Tensors that it stands for. */
  readonly tensors: number;
}

/** Rows that differ only in the numbers of their tensors' names, as one with a `*` for each number. */
function summedRows(rows: readonly PlannedRow[]): readonly ShownRow[] {
  const sums = new Map<string, ShownRow>();
  for (const row of rows) {
    const name = row.name.replace(/\d+/g, '*');
    const key = [name, row.shape, row.dtype, row.action, row.method, row.scheme, row.why].join('\n');
    const { tensors = 0, bytesBefore = 0, bytesAfter = 0 } = sums.get(key) ?? {};
    sums.set(key, {
      ...row,
      ...{
        name,
        tensors: tensors + 1,
        bytesBefore: bytesBefore + row.bytesBefore,
        bytesAfter: bytesAfter + row.bytesAfter,
      },
    });
  }
  return [...sums.values()];
}

/** The plan for people. */
export function planText(plan: Plan): string {
  const summed = plan.rows.length > mostRows;
  const rows: readonly (PlannedRow & Partial<ShownRow>)[] = summed ? summedRows(plan.rows) : plan.rows;
  const table = formatTable(
    ['tensor', ...(summed ? ['tensors'] : []), 'shape', 'dtype', 'before', 'after', 'becomes', 'why'],
    rows.map((row) => [
      row.name,
      ...(summed ? [`${row.tensors}`] : []),
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
    ...(summed
      ? [`${plan.rows.length} tensors; those that differ in numbers alone are one row, --json has them all`]
      : []),
    '',
    `${formatBytes(plan.bytesBefore)} -> ${formatBytes(plan.bytesAfter)} (${((100 * plan.bytesAfter) / plan.bytesBefore).toFixed(1)} %), ` +
      `${plan.bitsPerWeight.toFixed(3)} bits per weight in ${plan.modules.size} quantized linears`,
    `of that ${sharesText(plan)}`,
    `memory about ${formatBytes(memory.total)} (${parts.join(', ')})${disk === undefined ? '' : `, ${formatBytes(disk)} of activations on the disk`}; time about ${formatSeconds(seconds)}`,
    ...plan.notes.map((note) => `note: ${note}`),
  ].join('\n');
}

/** Bytes afterwards of each kind of tensor, and its share of all. */
function sharesText({ rows, bytesAfter }: Plan): string {
  const sums = new Map<string, number>();
  for (const row of rows) sums.set(row.kind, (sums.get(row.kind) ?? 0) + row.bytesAfter);
  return [...sums]
    .sort(([, a], [, b]) => b - a)
    .map(([kind, bytes]) => `${kind} ${formatBytes(bytes)} (${((100 * bytes) / bytesAfter).toFixed(1)} %)`)
    .join(', ');
}
