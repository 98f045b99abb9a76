import { join } from 'node:path';
import type { Checkpoint } from '@q/checkpoint';
import { CalibrationError, type Context, createRandom } from '@q/core';
import type { FileOptions } from '@q/durable-files';
import {
  type BudgetChoice,
  type BudgetReport,
  checkOutputFolder,
  checkpointSensitivity,
  fitToBudget,
  keptScheme,
  type Recipe,
  type RequestedRecipe,
  sensitivityName,
  smallestBytes,
} from '@q/pipeline';
import type { Compute } from '../engine.js';
import { defaultText, loadWindows, ownText } from '../texts.js';
import { formatBytes, formatTable } from '../units.js';
import { UsageError } from '../usage-error.js';

/** Windows on which sensitivities are measured: the first ones of the calibration. */
const measuredWindows = 16;

export interface BudgetRequest extends FileOptions {
  readonly path: string;
  readonly checkpoint: Checkpoint;
  readonly requested: RequestedRecipe;
  readonly calib?: string;
  readonly shuffle?: boolean;
  readonly shape: { readonly count: number; readonly length: number };
  /** File for sensitivities. */
  readonly sensitivity?: string;
  /** `one-pass` or `walk`. Default: one pass, if all linears of the model see all tokens. */
  readonly sensitivities?: 'one-pass' | 'walk';
  /** The output folder, which stores them during the run when no file is named. */
  readonly out?: string;
  /** Starts engine and kernels. Only a budget needs them. */
  start(): Promise<{ readonly compute: Compute; readonly context: Context }>;
}

/** Makes the choices of a budget. A recipe without one is returned as it is. */
export async function settleBudget(
  request: BudgetRequest,
): Promise<{ recipe: Recipe; budget?: BudgetReport; notes: readonly string[] }> {
  const { path, checkpoint, requested, shape, out, files } = request;
  const { budget } = requested;
  if (!budget) {
    if (request.sensitivity !== undefined)
      throw new UsageError('--sensitivity: belongs to a budget: give --budget too');
    if (request.sensitivities !== undefined)
      throw new UsageError('--sensitivities: belongs to a budget: give --budget too');
    return { recipe: requested.recipe, notes: [] };
  }
  const { model } = checkpoint;
  if (!model) throw checkpoint.unknownArchitecture as Error;
  if (request.calib === undefined && requested.writesText)
    throw new UsageError('--calib FILE is needed: a budget is divided by the effect of each module on text');
  const calib = request.calib ?? defaultText;
  if (calib === ownText)
    throw new UsageError('--calib self and --budget exclude each other: a budget is measured on given text');
  if (shape.length > model.maxPositions)
    throw new CalibrationError(`--length ${shape.length} is longer than the model's ${model.maxPositions} positions`);
  const { recipe, notes } = recipeWithin(checkpoint, requested);
  if (out !== undefined) await checkOutputFolder(out, { files });
  const { compute, context } = await request.start();
  const count = Math.min(measuredWindows, shape.count);
  const shuffle = request.shuffle ? createRandom(recipe.seed).fork('calibration') : undefined;
  const windows = await loadWindows(path, { path: calib, length: shape.length, count, shuffle });
  const file = request.sensitivity ?? (out === undefined ? undefined : join(out, sensitivityName));
  // Gradients belong to tokens, and experts see only some of them.
  const found =
    request.sensitivities ?? (model.blocks.some(({ experts = [] }) => experts.length > 0) ? 'walk' : 'one-pass');
  const fitted = await fitToBudget(checkpoint, recipe, budget, (units) =>
    checkpointSensitivity(checkpoint, recipe, units, {
      ...{ context, windows, file, files },
      by:
        found === 'walk'
          ? { kind: 'walk', engine: () => compute.forward(model) }
          : { kind: 'one-pass', engine: () => compute.training(model, false) },
    }),
  );
  const { choices, predictedKl } = fitted;
  return {
    recipe: fitted.recipe,
    budget: { asked: budget, found, windows: count, length: shape.length, choices, predictedKl },
    notes,
  };
}

/**
 * The recipe whose units the budget chooses for. Tables and the head take part if the size cannot be reached without
 * them.
 */
function recipeWithin(
  checkpoint: Checkpoint,
  { recipe, withTables, budget }: RequestedRecipe,
): { readonly recipe: Recipe; readonly notes: readonly string[] } {
  if (!withTables || !budget || !('bytes' in budget)) return { recipe, notes: [] };
  const least = smallestBytes(checkpoint, recipe);
  if (least > budget.bytes) {
    const included = withTables();
    const how = `the ${included.layout.name} layout holds them. Choose it yourself with --embeddings auto --head auto`;
    return {
      recipe: included,
      notes: [
        `the linears alone reach ${formatBytes(least)}, so the budget chooses for the embeddings and the head too: ${how}`,
      ],
    };
  }
  const tables = checkpoint.model?.embeddingTensors.map((name) => checkpoint.tensors.get(name)) ?? [];
  const kept = tables.reduce((sum, entry) => sum + (entry ? entry.end - entry.begin : 0), 0);
  const note = `embeddings take ${formatBytes(kept)} of the ${formatBytes(budget.bytes)} and are kept: with --embeddings auto the budget chooses for them too, in the plain layout`;
  return { recipe, notes: kept >= budget.bytes / 4 ? [note] : [] };
}

/** The reason for the bits of each unit, for people. */
export function budgetText({ asked, found, windows, length, choices, predictedKl }: BudgetReport): string {
  // Widths distinguish integers; schemes of one width are shown by name.
  const alike = choices.some(({ options }) => new Set(options.map(({ bits }) => bits)).size < options.length);
  const labelOf = ({ bits, scheme }: BudgetChoice['options'][number]) =>
    alike || scheme === keptScheme ? scheme : `${bits}`;
  const ordered = choices.flatMap(({ options }) => options).sort((a, b) => a.bits - b.bits);
  const labels = [...new Set(ordered.map(labelOf))];
  const rows = choices.map(({ unit, options, chosen }) => [
    unit,
    ...labels.map((label) => options.find((option) => labelOf(option) === label)?.kl.toExponential(2) ?? ''),
    labelOf(options[chosen]),
    formatBytes(options[chosen].bytes),
  ]);
  const size = 'bytes' in asked ? formatBytes(asked.bytes) : `${asked.bitsPerWeight} bits per weight`;
  return [
    formatTable(['unit', ...labels.map((label) => `KL at ${label}`), 'chosen', 'takes'], rows),
    '',
    `budget of ${size}: each unit alone quantized, KL of the whole model${found === 'one-pass' ? ', estimated from gradients,' : ''} on ${windows} windows of ${length} tokens; the chosen ones add up to ${predictedKl.toExponential(2)}`,
  ].join('\n');
}
