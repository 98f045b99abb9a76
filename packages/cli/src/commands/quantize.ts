import { join } from 'node:path';
import type { Windows } from '@q/calib';
import {
  CalibrationError,
  countedEngine,
  countedKernels,
  createContext,
  createProfile,
  createRandom,
  type ForwardEngine,
  type ModelDescription,
  QuantError,
} from '@q/core';
import { judgeDivergence } from '@q/eval';
import {
  checkOutputFolder,
  expertCoverage,
  planRun,
  type RunReport,
  type RunResult,
  recipeJSON,
  refuseRemote,
  runKeeping,
  writtenText,
  writtenTextName,
} from '@q/pipeline';
import type { CommandContext, FlagValues } from '../command.js';
import { endLossOf } from '../end-loss.js';
import { type Compute, createCompute } from '../engine.js';
import { EvaluationError, endsAgain } from '../evaluation-error.js';
import { type HeldOutFlags, heldOutText } from '../held-out-text.js';
import { openModel, openValues } from '../open-model.js';
import { nativeEngines } from '../own-engine-pays.js';
import { openQueueRun, type QueueFlags, type QueueRun } from '../queue/queue-run.js';
import { remoteRun } from '../queue/remote-run.js';
import { recipeFrom, recipeRequest } from '../recipe-flags.js';
import { reportPageName, writeReport } from '../report/write-report.js';
import { defaultText, defaultTextNote, loadWindows, ownText, textOpening } from '../texts.js';
import { beginWorkers, type WorkerFlags, workersIdentity } from '../training-workers.js';
import { formatBytes, formatSeconds, formatTable } from '../units.js';
import { UsageError } from '../usage-error.js';
import { budgetText, settleBudget } from './budget.js';
import { checkDivergence, divergenceLimit } from './divergence-limit.js';
import { score } from './evaluate.js';
import { expertsText } from './experts.js';
import { calibrationShape, planText } from './plan.js';
import { enginePeakOf, kernelsPeakOf, profileText, runProfile } from './run-profile.js';

export interface QuantizeOptions extends FlagValues, HeldOutFlags, WorkerFlags, QueueFlags {
  readonly calib?: string;
  readonly samples?: number;
  readonly length?: number;
  readonly memory?: number;
  readonly sensitivity?: string;
  readonly sensitivities?: 'one-pass' | 'walk';
  readonly engine?: string;
  readonly threads?: number;
  readonly kernels?: string;
  readonly maxKl?: number;
  readonly profile?: boolean;
  readonly json?: boolean;
}

/** `q quantize MODEL OUT`. Resolves to the report, which is also in OUT as q-report.json and q-report.html. */
export async function quantizeCommand(
  path: string,
  out: string,
  options: QuantizeOptions,
  command: CommandContext,
): Promise<RunReport> {
  const { terminal, signal, vocabulary, files } = command;
  const requested = await recipeFrom(options, vocabulary);
  const shape = calibrationShape(options);
  const checkpoint = await openValues(path, vocabulary);
  const compute = await createCompute({
    engine: options.engine,
    kernels: options.kernels,
    threads: options.threads,
  });
  const begun = performance.now();
  const profile = options.profile ? createProfile() : undefined;
  let queueRun: QueueRun | undefined;
  try {
    const context = createContext({
      ...(profile ? { profile } : {}),
      kernels: profile ? countedKernels(compute.kernels, profile) : compute.kernels,
      seed: requested.recipe.seed,
      logger: terminal.logger,
      progress: terminal.progress,
      signal,
    });
    const {
      recipe,
      budget,
      notes: budgetNotes,
    } = await settleBudget({
      path,
      checkpoint,
      requested,
      calib: options.calib,
      shuffle: options.shuffle,
      shape,
      sensitivity: options.sensitivity,
      sensitivities: options.sensitivities,
      out,
      start: async () => ({ compute, context }),
      files,
    });
    let plan = planRun(checkpoint, recipe, shape);
    const notRemote = budget ? 'a budget is computed on one machine' : refuseRemote(plan);
    if (options.queue !== undefined && notRemote) throw new UsageError(`--queue: ${notRemote}`);
    const native = nativeEngines.some((name) => name === options.engine);
    if (options.queue !== undefined && native && plan.recipe.windowShards !== undefined)
      throw new UsageError(
        `--window-shards with --queue and --engine ${options.engine}: the bits of this engine depend on threads and processor: leave --engine out`,
      );
    queueRun = await openQueueRun(out, options, command);
    terminal.note(planText(plan));
    if (budget) terminal.note(budgetText(budget));
    for (const note of budgetNotes) terminal.note(`note: ${note}`);
    const writes = options.calib === ownText || (options.calib === undefined && requested.writesText);
    const calib = options.calib ?? defaultText;
    const byDefault = (plan.calibrated || budget !== undefined) && !writes && options.calib === undefined;
    if (byDefault) terminal.note(`note: ${defaultTextNote}`);
    if (plan.calibrated && plan.model && shape.length > plan.model.maxPositions) {
      throw new CalibrationError(
        `--length ${shape.length} is longer than the model's ${plan.model.maxPositions} positions`,
      );
    }
    const shuffle = options.shuffle ? createRandom(recipe.seed).fork('calibration') : undefined;
    if (writes) await checkOutputFolder(out, { files });
    const calibration = !plan.calibrated
      ? undefined
      : writes
        ? await writtenText(checkpoint, {
            ...{ context, seed: recipe.seed, engine: compute.engine, file: join(out, writtenTextName) },
            ...{ count: shape.count, length: shape.length, files, opening: await textOpening(path) },
          })
        : await loadWindows(path, {
            path: calib,
            length: shape.length,
            count: shape.count,
            shuffle,
            sequences: plan.model?.head === undefined,
          });
    const notes = [...plan.notes, ...budgetNotes, ...(byDefault ? [defaultTextNote] : []), ...compute.notes];
    const encoder = plan.model !== undefined && plan.model.head === undefined;
    if (encoder)
      notes.push(
        `not evaluated: q eval ${out} --against ${path} --text LINES.txt compares the vectors of both encoders`,
      );
    // The default text comes from grammars and is not suitable for scoring.
    const learnt = !writes && calibration && calib !== defaultText;
    const evaluation = encoder
      ? undefined
      : await heldOutText(
          path,
          options,
          shape.length,
          learnt ? { path: calib, windows: calibration, purpose: 'calibration' } : undefined,
          notes,
        );
    const maxKl = divergenceLimit(options.maxKl, evaluation !== undefined);

    let engineName = 'none';
    let enginePeak: number | undefined;
    const named = <E extends ForwardEngine<any>>(engine: E): E => {
      engineName = engineName === 'none' || engineName === engine.name ? engine.name : `${engineName}, ${engine.name}`;
      notes.push(...engine.notes);
      if (!profile) return engine;
      enginePeak ??= enginePeakOf(engine);
      return countedEngine(engine, profile);
    };
    const asked = new Map([...plan.modules].map(([module, { quantizer }]) => [module, quantizer]));
    const reportOf = (result: RunResult): RunReport => {
      const { layers, transforms, computedWith } = result;
      const experts = checkpoint.model
        ? expertCoverage(checkpoint.model, layers, (module) => (asked.get(module)?.needs.length ?? 0) > 0)
        : [];
      const earlierEngine = computedWith?.slice(0, computedWith.lastIndexOf(`, ${compute.kernels.name}`));
      return {
        source: path,
        out,
        recipe: recipeJSON(plan.recipe),
        ...(calibration
          ? {
              calibration: {
                name: writes ? 'written by the model' : calib,
                samples: calibration.count,
                length: calibration.length,
              },
            }
          : {}),
        environment: {
          node: process.version,
          platform: `${process.platform} ${process.arch}`,
          engine: engineName === 'none' ? (earlierEngine ?? engineName) : engineName,
          kernels: compute.kernels.name,
        },
        bytesBefore: plan.bytesBefore,
        bytesAfter: plan.bytesAfter,
        bitsPerWeight: plan.bitsPerWeight,
        layers,
        transforms,
        ...(budget ? { budget } : {}),
        ...(experts.length > 0 ? { experts } : {}),
        notes: [
          ...notes,
          ...result.notes,
          ...layers.flatMap(({ module, notes: own }) => own.map((note) => `${module}: ${note}`)),
        ],
        files: result.files,
        seconds: result.seconds,
        resumed: result.resumed,
        run: result.run,
      };
    };
    const counted: Compute = profile
      ? { ...compute, forward: async (...args) => countedEngine(await compute.forward(...args), profile) }
      : compute;
    const ended: { report?: RunReport; failure?: QuantError } = {};
    await runKeeping(plan, {
      ...(queueRun
        ? {
            remote: remoteRun(queueRun, {
              ...{ request: await recipeRequest(options, vocabulary), rules: recipe.rules.length },
              ...{ kernels: compute.kernels.name },
            }),
          }
        : {}),
      ...{ out, context, calibration, files, shape },
      kept(text, next) {
        plan = next;
        notes.push(text);
        terminal.note(`note: ${text}`);
      },
      engine: async () =>
        named(await compute.training(plan.model as ModelDescription, plan.recipe.tuner?.blockByBlock ?? false)),
      // Shards of windows have the same bits on one machine and on many.
      forward: async () =>
        named(await compute.forward(plan.model as ModelDescription, plan.recipe.windowShards !== undefined)),
      ...(options.workers === undefined
        ? {}
        : {
            workers: {
              identity: workersIdentity(options),
              begin: () => beginWorkers(recipe, options, signal),
            },
          }),
      endLoss: (windows) => endLossOf(checkpoint, windows, compute, context),
      async finish(result) {
        const { earlier } = result;
        if (earlier && isScored(earlier, evaluation)) {
          ended.report = earlier;
          if (!(await files.info(join(out, reportPageName)))) await writeReport(out, earlier, files);
          terminal.note(`${out} is finished: nothing was left to do.`);
          return;
        }
        const report = earlier ?? reportOf(result);
        const scored = await scoresOf(evaluation, () => {
          const { windows } = evaluation as HeldOut;
          return context.profile.stage('evaluate', () => scoreBoth(path, out, windows, counted, command));
        });
        const times = profile && runProfile(profile, begun, await kernelsPeakOf(compute.kernels), enginePeak);
        if (scored instanceof QuantError) ended.failure = scored;
        ended.report = {
          ...report,
          ...(times ? { profile: times } : {}),
          ...(scored instanceof QuantError
            ? { notes: [...report.notes, `not evaluated: ${scored.message}`] }
            : scored
              ? { evaluation: scored }
              : {}),
        };
        await writeReport(out, ended.report, files);
      },
    });
    if (ended.failure)
      throw new EvaluationError(
        `${ended.failure.message}\n${out} holds the whole model; its report says that it could not be evaluated`,
      );
    await queueRun?.close(true);
    const report = ended.report as RunReport;
    if (options.json) terminal.printJson(report);
    else terminal.print(summary(report));
    if (maxKl !== undefined) checkDivergence(out, report.evaluation?.after.kl, maxKl);
    return report;
  } finally {
    await queueRun?.close(false);
    await compute.dispose();
    await checkpoint.close();
  }
}

type HeldOut = NonNullable<Awaited<ReturnType<typeof heldOutText>>>;

/** Whether a report has all results of this evaluation. */
const isScored = ({ evaluation }: RunReport, wanted: HeldOut | undefined): boolean =>
  !wanted ||
  (evaluation?.text === wanted.name &&
    evaluation.windows === wanted.windows.count &&
    evaluation.length === wanted.windows.length);

/** The evaluation for the report, or the reason why it failed; undefined when none is requested. */
async function scoresOf(
  wanted: HeldOut | undefined,
  score: () => Promise<Pick<NonNullable<RunReport['evaluation']>, 'before' | 'after' | 'verdict'>>,
): Promise<RunReport['evaluation'] | QuantError> {
  if (!wanted) return undefined;
  try {
    const { count, length } = wanted.windows;
    return { text: wanted.name, windows: count, length, ...(await score()) };
  } catch (error) {
    // An error that the user can fix counts as an interruption: the next run of the same command evaluates again.
    if (endsAgain(error)) return error;
    throw error;
  }
}

async function scoreBoth(
  path: string,
  out: string,
  windows: Windows,
  compute: Compute,
  { terminal, signal, vocabulary }: CommandContext,
) {
  const original = await openModel(path, vocabulary);
  const quantized = await openModel(out, vocabulary);
  try {
    const after = await score(quantized, windows, compute, { against: original, terminal, signal });
    const nll = Math.log(after.againstPerplexity as number);
    const before = { perplexity: after.againstPerplexity as number, nll, tokens: after.tokens };
    return { before, after, verdict: judgeDivergence(after.kl as number) };
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
    ...(evaluation ? [`against the original: ${evaluation.verdict.words}`] : []),
    ...fallbackText(layers),
    ...(report.experts ? [expertsText(report.experts), ''] : []),
    ...(report.profile ? [profileText(report.profile), ''] : []),
    `mean relative layer error ${error((row) => row.error).toExponential(2)}, round-to-nearest has ${error((row) => row.rtnError).toExponential(2)}`,
    ...report.notes.map((note) => `note: ${note}`),
    `quantized in ${formatSeconds(report.seconds)}${report.resumed ? ' (resumed)' : ''}`,
    `folder: ${report.out}`,
    `report: ${join(report.out, 'q-report.html')}`,
  ].join('\n');
}

/** Number of layers that did not get the requested method, by reason. */
function fallbackText(layers: RunReport['layers']): string[] {
  const fallbacks = layers.flatMap(({ outcome }) => (outcome.kind === 'fallback' ? [outcome] : []));
  if (fallbacks.length === 0) return [];
  const reasons = { worse: 'worse than round-to-nearest', notFinite: 'not finite', fewTokens: 'too few tokens' };
  const counts = Object.entries(reasons).flatMap(([reason, words]) => {
    const count = fallbacks.filter((outcome) => outcome.reason === reason).length;
    return count > 0 ? [`${count} ${words}`] : [];
  });
  return [
    `rounded to nearest instead of the requested method: ${fallbacks.length} of ${layers.length} layers (${counts.join(', ')})`,
  ];
}
