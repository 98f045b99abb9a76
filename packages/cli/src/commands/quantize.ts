import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Windows } from '@q/calib';
import { openCheckpoint } from '@q/checkpoint';
import { CalibrationError, createContext, createRandom, type ModelDescription } from '@q/core';
import {
  checkOutputFolder,
  expertCoverage,
  isRewrite,
  type Plan,
  planRun,
  type RunReport,
  recipeJSON,
  runPlan,
  writtenText,
  writtenTextName,
} from '@q/pipeline';
import { type Compute, createCompute } from '../engine.js';
import { type HeldOutFlags, heldOutText } from '../held-out-text.js';
import { type RecipeOptions, recipeFrom } from '../recipe-options.js';
import { knownLayouts } from '../registry.js';
import type { Terminal } from '../terminal.js';
import { loadWindows, ownText } from '../texts.js';
import { formatBytes, formatSeconds, formatTable } from '../units.js';
import { UsageError } from '../usage-error.js';
import { wholeNumber } from '../whole-number.js';
import { budgetText, settleBudget } from './budget.js';
import { score } from './evaluate.js';
import { expertsText } from './experts.js';
import { calibrationShape, planText } from './plan.js';

export interface QuantizeOptions extends RecipeOptions, HeldOutFlags {
  readonly calib?: string;
  readonly samples?: string;
  readonly length?: string;
  readonly sensitivity?: string;
  readonly engine?: string;
  readonly threads?: string;
  readonly kernels?: string;
  readonly json?: boolean;
  readonly yes?: boolean;
}

/** `q quantize MODEL OUT`. Resolves to the report, which is also in OUT as q-report.json and q-report.html. */
export async function quantizeCommand(
  path: string,
  out: string,
  options: QuantizeOptions,
  terminal: Terminal,
  signal: AbortSignal,
): Promise<RunReport> {
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
    const { recipe, budget } = await settleBudget({
      path,
      checkpoint,
      requested,
      calib: options.calib,
      shuffle: options.shuffle,
      shape,
      sensitivity: options.sensitivity,
      out,
      compute,
      context,
    });
    const plan = planRun(checkpoint, recipe, shape);
    terminal.note(planText(plan));
    if (budget) terminal.note(budgetText(budget));
    const writes = options.calib === ownText || (options.calib === undefined && requested.writesText);
    if (plan.calibrated && !options.calib && !writes) {
      throw new UsageError(
        `--calib FILE is needed: ${learner(plan)} learns from text what the layers see (or --calib self: the model writes it; or choose --method rtn)`,
      );
    }
    if (plan.calibrated && plan.model && shape.length > plan.model.maxPositions) {
      throw new CalibrationError(
        `--length ${shape.length} is longer than the model's ${plan.model.maxPositions} positions`,
      );
    }
    const shuffle = options.shuffle ? createRandom(recipe.seed).fork('calibration') : undefined;
    if (writes) await checkOutputFolder(out);
    const calibration = !plan.calibrated
      ? undefined
      : writes
        ? await writtenText(checkpoint, {
            ...{ context, seed: recipe.seed, engine: compute.engine, file: join(out, writtenTextName) },
            ...{ samples: shape.samples, length: shape.length },
          })
        : await loadWindows(path, {
            path: options.calib as string,
            length: shape.length,
            count: shape.samples,
            shuffle,
          });
    const notes = [...plan.notes, ...compute.notes];
    const learnt = !writes && calibration && options.calib !== undefined;
    const evaluation = await heldOutText(
      path,
      options,
      shape.length,
      learnt ? { path: options.calib as string, windows: calibration, purpose: 'calibration' } : undefined,
      notes,
    );

    let engineName = 'none';
    const named = <E extends { readonly name: string; readonly notes: readonly string[] }>(engine: E): E => {
      engineName = engineName === 'none' || engineName === engine.name ? engine.name : `${engineName}, ${engine.name}`;
      notes.push(...engine.notes);
      return engine;
    };
    const result = await runPlan(plan, {
      out,
      context,
      calibration,
      engine: async () =>
        named(await compute.training(plan.model as ModelDescription, plan.recipe.tuner?.blockByBlock ?? false)),
      forward: async () => named(await compute.forward(plan.model as ModelDescription)),
    });
    const scores = evaluation && (await scoreBoth(path, out, evaluation.windows, compute, terminal, signal));
    const asked = new Map([...plan.modules].map(([module, { quantizer }]) => [module, quantizer]));
    const experts = checkpoint.model
      ? expertCoverage(checkpoint.model, result.layers, (module) => (asked.get(module)?.needs.length ?? 0) > 0)
      : [];
    const report: RunReport = {
      source: path,
      out,
      recipe: recipeJSON(recipe),
      ...(calibration
        ? {
            calibration: {
              name: writes ? 'written by the model' : (options.calib as string),
              samples: calibration.count,
              length: calibration.length,
            },
          }
        : {}),
      environment: {
        node: process.version,
        platform: `${process.platform} ${process.arch}`,
        engine: engineName,
        kernels: compute.kernels.name,
      },
      bytesBefore: plan.bytesBefore,
      bytesAfter: plan.bytesAfter,
      bitsPerWeight: plan.bitsPerWeight,
      layers: result.layers,
      transforms: result.transforms,
      ...(budget ? { budget } : {}),
      ...(experts.length > 0 ? { experts } : {}),
      ...(evaluation && scores
        ? {
            evaluation: {
              text: evaluation.name,
              windows: evaluation.windows.count,
              length: evaluation.windows.length,
              ...scores,
            },
          }
        : {}),
      notes: [
        ...notes,
        ...result.notes,
        ...result.layers.flatMap(({ module, notes: own }) => own.map((note) => `${module}: ${note}`)),
      ],
      files: result.files,
      seconds: result.seconds,
      resumed: result.resumed,
    };
    await writeFile(join(out, 'q-report.json'), `${JSON.stringify(report, null, 2)}\n`);
    // The plots' libraries take longer to load than everything else.
    const { reportHtml } = await import('../report/report-html.js');
    await writeFile(join(out, 'q-report.html'), reportHtml(report));
    if (options.json) terminal.printJson(report);
    else terminal.print(summary(report));
    return report;
  } finally {
    await compute.dispose();
    await checkpoint.close();
  }
}

/** The step of a calibrated plan that needs the text. */
function learner({ recipe, modules }: Plan): string {
  const transform = recipe.transforms?.find((step) => !isRewrite(step));
  return (
    (transform ?? recipe.tuner ?? [...modules.values()].find(({ quantizer }) => quantizer.needs.length > 0)?.quantizer)
      ?.name ?? ''
  );
}

async function scoreBoth(
  path: string,
  out: string,
  windows: Windows,
  compute: Compute,
  terminal: Terminal,
  signal: AbortSignal,
) {
  const original = await openCheckpoint(path, knownLayouts);
  const quantized = await openCheckpoint(out, knownLayouts);
  try {
    const after = await score(quantized, original, windows, compute, terminal, signal);
    const nll = Math.log(after.againstPerplexity as number);
    return { before: { perplexity: after.againstPerplexity as number, nll, tokens: after.tokens }, after };
  } finally {
    await original.close();
    await quantized.close();
  }
}

function summary(report: RunReport): string {
  const { evaluation, bytesBefore, bytesAfter, bitsPerWeight, layers } = report;
  const error = (pick: (row: RunReport['layers'][number]) => number) =>
    layers.reduce((sum, row) => sum + pick(row), 0) / layers.length;
  const rows = [
    ['size', formatBytes(bytesBefore), formatBytes(bytesAfter)],
    ['bits per weight of the linears', '', bitsPerWeight.toFixed(3)],
    ...(evaluation
      ? [
          ['perplexity', evaluation.before.perplexity.toFixed(4), evaluation.after.perplexity.toFixed(4)],
          ['KL to the original, nats per token', '0', (evaluation.after.kl as number).toFixed(6)],
          ['same top token', '100 %', `${(100 * (evaluation.after.topAgreement as number)).toFixed(2)} %`],
        ]
      : []),
  ];
  return [
    '',
    formatTable(['', 'before', 'after'], rows),
    '',
    ...(report.experts ? [expertsText(report.experts), ''] : []),
    `mean relative layer error ${error((row) => row.error).toExponential(2)}, round-to-nearest has ${error((row) => row.rtnError).toExponential(2)}`,
    ...report.notes.map((note) => `note: ${note}`),
    `quantized in ${formatSeconds(report.seconds)}${report.resumed ? ' (resumed)' : ''}`,
    `folder: ${report.out}`,
    `report: ${join(report.out, 'q-report.html')}`,
  ].join('\n');
}
