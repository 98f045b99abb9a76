import { availableParallelism, totalmem } from 'node:os';
import { createContext, type ModelDescription, SchemeError } from '@q/core';
import { type CalibrationShape, type Plan, type PlannedRow, planRun, type RowGroup, recipeJSON } from '@q/pipeline';
import { plainCacheBytes, quantizedCache } from '../cache-option.js';
import type { CommandContext, FlagValues } from '../command.js';
import type { Compute } from '../engine.js';
import { engineRates } from '../engine-rates.js';
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
  /** Scheme of a cache of keys and values, and the number of tokens for its size. */
  readonly cache?: string;
  readonly context?: number;
  readonly json?: boolean;
}

/** `q plan MODEL`: prints the plan of a run before anything is computed. */
export async function planCommand(
  path: string,
  options: PlanOptions,
  { terminal, signal, vocabulary }: CommandContext,
): Promise<void> {
  const requested = await recipeFrom(options, vocabulary);
  const shape = calibrationShape(options);
  const checkpoint = await openValues(path, vocabulary);
  let compute = undefined as Compute | undefined;
  try {
    const { calib, sensitivity, engine, kernels, threads } = options;
    const { recipe, budget, notes } = await settleBudget({
      path,
      checkpoint,
      requested,
      calib,
      shape,
      sensitivity,
      sensitivities: options.sensitivities,
      async start() {
        const { createCompute } = await import('../engine.js');
        compute = await createCompute({ engine, kernels, threads });
        const { seed } = requested.recipe;
        const { logger, progress } = terminal;
        return { compute, context: createContext({ kernels: compute.kernels, seed, logger, progress, signal }) };
      },
    });
    const plan = planRun(checkpoint, recipe, shape);
    if ((plan.calibrated || budget) && calib === undefined && !requested.writesText)
      terminal.note(`note: ${defaultTextNote}`);
    for (const note of notes) terminal.note(`note: ${note}`);
    const cache = plannedCache(checkpoint.model, options);
    if (options.json)
      await terminal.printParts(planJSON(plan, { ...(budget ? { budget } : {}), ...(cache ? { cache } : {}) }));
    else
      terminal.print(
        [planText(plan), ...(cache ? [cacheText(cache)] : []), ...(budget ? ['', budgetText(budget)] : [])].join('\n'),
      );
  } finally {
    await compute?.dispose();
    await checkpoint.close();
  }
}

interface PlannedCache {
  /** `f16`, or a scheme of quantized caches. */
  readonly scheme: string;
  readonly tokens: number;
  readonly bytes: number;
  /** The same with 16 bits a value. */
  readonly plainBytes: number;
}

/**
 * Bytes of the keys and values of a sequence; undefined for models that write no text.
 * @throws SchemeError when the scheme does not fit the model
 */
function plannedCache(model: ModelDescription | undefined, { cache, context }: PlanOptions): PlannedCache | undefined {
  if (!model?.head && cache === undefined) return undefined;
  if (!model) throw new SchemeError(`--cache ${cache}: the architecture is not known, so its cache is not either`);
  const tokens = Math.min(context ?? 4096, model.maxPositions);
  const scheme = cache ?? 'f16';
  const plainBytes = plainCacheBytes(model, tokens);
  if (plainBytes === undefined && cache === undefined) return undefined;
  const bytes = cache === undefined ? (plainBytes as number) : quantizedCache(cache, model).bytes(tokens);
  return { scheme, tokens, bytes, plainBytes: plainBytes as number };
}

const cacheText = ({ scheme, tokens, bytes, plainBytes }: PlannedCache) =>
  `keys and values of ${tokens} tokens take ${formatBytes(bytes)} in ${scheme}` +
  (scheme === 'f16' ? '' : `, ${formatBytes(plainBytes)} in f16`);

/** The calibration of a run for its plan. */
export const calibrationShape = ({
  samples = 128,
  length = 256,
  memory = totalmem(),
  engine,
  // As the kernels take by default.
  threads = Math.min(8, availableParallelism()),
}: Pick<PlanOptions, 'samples' | 'length' | 'memory' | 'engine' | 'threads'>): CalibrationShape & {
  readonly memory: number;
} => ({
  ...{ count: samples, length, memory, threads },
  engine: (model) => engineRates(engine, model),
});

/** Rows in one piece of JSON. */
const rowsAtOnce = 1000;

/** The plan for programs: one object, in pieces, since the text of 400,000 rows takes a hundred megabytes. */
function* planJSON(plan: Plan, more: Record<string, unknown>): Generator<string> {
  const { checkpoint, bytesBefore, bytesAfter, bitsPerWeight, forecast, calibrated, notes } = plan;
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
  let [rows, comma]: [PlannedRow[], string] = [[], ''];
  const text = () => {
    const part = `${comma}${JSON.stringify(rows).slice(1, -1)}`;
    [rows, comma] = [[], ','];
    return part;
  };
  for (const row of plan.eachRow()) if (rows.push(row) === rowsAtOnce) yield text();
  if (rows.length > 0) yield text();
  yield `],${JSON.stringify({ notes, ...more }).slice(1)}\n`;
}

/** More rows than this are grouped: a person only wants to see the differences. */
const mostRows = 2000;

/** The plan for people. */
export function planText(plan: Plan): string {
  const summed = plan.tensors > mostRows;
  const rows: readonly (PlannedRow & Partial<RowGroup>)[] = summed ? plan.groups : plan.rows;
  const table = formatTable(
    ['tensor', ...(summed ? ['tensors'] : []), 'shape', 'dtype', 'before', 'after', 'becomes', 'why'],
    rows.map((row) => [
      row.name,
      ...(summed ? [`${row.tensors}`] : []),
      `[${row.shape.join(', ')}]`,
      row.dtype,
      formatBytes(row.bytesBefore),
      formatBytes(row.bytesAfter),
      becomes(row),
      row.why,
    ]),
  );
  const { memory, disk, seconds } = plan.forecast;
  const parts = Object.entries(memory)
    .filter(([name]) => name !== 'total')
    .map(([name, bytes]) => `${name} ${formatBytes(bytes)}`);
  return [
    table,
    ...(summed ? [`${plan.tensors} tensors; those that differ only in numbers are one row, --json has them all`] : []),
    '',
    `${formatBytes(plan.bytesBefore)} -> ${formatBytes(plan.bytesAfter)} (${((100 * plan.bytesAfter) / plan.bytesBefore).toFixed(1)} %), ` +
      `${plan.bitsPerWeight.toFixed(3)} bits per weight in ${plan.modules.size} quantized linears, layout ${plan.recipe.layout.name}`,
    `of these: ${sharesText(plan)}`,
    `memory about ${formatBytes(memory.total)} (${parts.join(', ')})${disk === undefined ? '' : `, ${formatBytes(disk)} of activations on the disk`}; time about ${formatSeconds(seconds)}`,
    ...plan.notes.map((note) => `note: ${note}`),
  ].join('\n');
}

/** What a tensor becomes, in words. */
function becomes({ action, method, scheme, dtype }: PlannedRow): string {
  if (action === 'quantize') return `${method} ${scheme}`;
  if (action === 'rewrite') return 'f32';
  return action === 'add' ? dtype.toLowerCase() : 'as it is';
}

/** Bytes afterwards of each kind of tensor, and its share of the total. */
function sharesText({ groups, bytesAfter }: Plan): string {
  const sums = new Map<string, number>();
  for (const group of groups) sums.set(group.kind, (sums.get(group.kind) ?? 0) + group.bytesAfter);
  return [...sums]
    .sort(([, a], [, b]) => b - a)
    .map(([kind, bytes]) => `${kind} ${formatBytes(bytes)} (${((100 * bytes) / bytesAfter).toFixed(1)} %)`)
    .join(', ');
}
