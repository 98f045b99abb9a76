import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CalibrationError, FormatError, type ModelDescription } from '@q/core';
import { type FileSystem, makeFolders, writeFileDurably } from '@q/durable-files';
import { evaluate } from '@q/eval';
import {
  conclude,
  localGlobalJobs,
  localGlobalMethods,
  moduleSensitivities,
  runStudy,
  type StudyJob,
  type StudyMethod,
  type StudyResult,
  type StudyStore,
  studyCsv,
  summarize,
} from '@q/study';
import type { CommandContext, FlagValues } from '../command.js';
import { lockedOutput } from '../conversion/locked-output.js';
import { createCompute } from '../engine.js';
import { openModel } from '../open-model.js';
import { openQueueRun, type QueueFlags, type QueueRun } from '../queue/queue-run.js';
import { remoteStudy } from '../queue/study-work.js';
import { openGround } from '../study/open-ground.js';
import { recipeOf, runJob } from '../study/run-job.js';
import { scanLandscapes } from '../study/scan-landscapes.js';
import type { StudyReport } from '../study/study-report.js';
import { loadWindows } from '../texts.js';
import { formatTable } from '../units.js';
import { UsageError } from '../usage-error.js';

export interface StudyOptions extends FlagValues, QueueFlags {
  readonly data?: string;
  readonly bits?: string;
  readonly groups?: string;
  readonly methods?: string;
  readonly seeds?: number;
  readonly samples?: number;
  readonly length?: number;
  readonly windows?: number;
  readonly quick?: boolean;
  readonly engine?: string;
  readonly threads?: number;
  readonly kernels?: string;
  readonly json?: boolean;
}

/** `q study local-global MODEL OUT`. The same call again runs only what is missing. */
export async function studyCommand(
  path: string,
  out: string,
  options: StudyOptions,
  context: CommandContext,
): Promise<StudyReport> {
  await refuseOther(out, context.files);
  return lockedOutput(out, context.files, () => study(path, out, options, context));
}

/** The names that a study writes into its folder. */
const ownNames = new Set(['runs', 'study.json', 'study.csv', 'study.html']);

/** @throws UsageError when the folder has content that no study has written, such as a model */
async function refuseOther(out: string, files: FileSystem): Promise<void> {
  const info = await files.info(out);
  if (info && !info.isFolder) throw new UsageError(`${out}: is a file; an output folder was expected`);
  const other = (await files.list(out))?.find(
    (name) => !name.startsWith('.') && !ownNames.has(name.replace(/\.partial$/, '')),
  );
  if (other !== undefined)
    throw new UsageError(
      `${out}: exists and is not a study's folder (${other} is in it): choose another output folder or remove it`,
    );
}

async function study(path: string, out: string, options: StudyOptions, command: CommandContext): Promise<StudyReport> {
  const { terminal, signal, vocabulary, files } = command;
  if (!options.data) throw new UsageError('--data FILE is needed: text that the methods learn from and are scored on');
  const { quick = false, length = 256, windows: heldOutCount = quick ? 16 : 32 } = options;
  const samples = options.samples ?? (quick ? 32 : 128);
  const methods = chosenMethods(options.methods);
  const jobs = localGlobalJobs({
    ...{ methods, samples, quick, bits: numbers('--bits', options.bits), groups: numbers('--groups', options.groups) },
    ...(options.seeds === undefined ? {} : { seeds: Array.from({ length: options.seeds }, (_, seed) => seed) }),
  });
  const checkpoint = await openModel(path, vocabulary);
  const compute = await createCompute(options);
  let queueRun: QueueRun | undefined;
  try {
    const model = described(checkpoint, path);
    for (const note of checkpoint.notes) terminal.note(`note: ${path}: ${note}`);
    const all = await loadWindows(path, { path: options.data, length, progress: terminal.progress, signal });
    const learnable = all.count - heldOutCount;
    if (learnable < samples)
      throw new CalibrationError(
        `${options.data}: has ${all.count} windows of ${length} tokens, expected ${samples} to learn from and ${heldOutCount} to score: give more text, or smaller --samples and --windows`,
      );
    await makeFolders(join(out, 'runs'), { files });
    terminal.note(
      `study: ${jobs.length} runs of ${methods.length} methods, ${samples} windows of ${length} tokens each`,
    );
    const setting = { length, learnable, samples, heldOut: heldOutCount, quick, data: options.data };
    const ids = Int32Array.from(all.ids);
    const opened = await openGround({
      ...{ ...setting, path, checkpoint, model, ids, compute, vocabulary, folder: join(out, 'runs'), signal },
      progress: terminal.progress,
    });
    const { ground } = opened;
    const { original: source, heldOut } = ground;
    try {
      // Checks every recipe before the first run, so an unknown setting cannot end a study after hours.
      for (const job of jobs) recipeOf(job, ground);
      let results: readonly StudyResult[];
      const { nll: originalNll } = await evaluate(source, heldOut, { kernels: compute.kernels, signal });
      const store = storeIn(join(out, 'runs'));
      queueRun = await openQueueRun(out, options, command);
      const { name: kernels } = compute.kernels;
      const remote = queueRun && (await remoteStudy(queueRun, { checkpoint, setting, ids, kernels }));
      try {
        const known = await Promise.all(jobs.map((job) => store.load(job.id)));
        await remote?.add(jobs.filter((_, i) => known[i] === undefined));
        const execute = remote ? (job: StudyJob) => remote.run(job) : (job: StudyJob) => runJob(job, ground);
        results = await runStudy(jobs, execute, { store, progress: terminal.progress, signal });
      } finally {
        await remote?.close();
      }
      await queueRun?.close(true);
      const widths = [...new Set(jobs.map(({ bits }) => bits))].sort((a, b) => a - b);
      const landscapes = await scanLandscapes(
        results.filter(({ job }) => job.seed === 0 && job.samples === samples),
        quick ? widths.slice(0, 1) : widths.slice(0, 3),
        ground,
        quick ? 4 : 8,
        (note) => terminal.progress({ task: 'landscape', done: 0, total: 1, note }),
      );
      const summaries = summarize(results, samples, methods);
      const report: StudyReport = {
        ...{ model: path, data: options.data, samples, length, heldOut: heldOut.count, quick },
        ...{ originalNll, methods, summaries, conclusions: conclude(summaries, originalNll), landscapes, results },
        layers: moduleSensitivities(results, widths[0]),
      };
      await writeFileDurably(join(out, 'study.json'), `${JSON.stringify(report, null, 2)}\n`);
      await writeFileDurably(join(out, 'study.csv'), studyCsv(results));
      const { studyHtml } = await import('../report/study-html.js');
      await writeFileDurably(join(out, 'study.html'), studyHtml(report));
      if (options.json) terminal.printJson(report);
      else terminal.print(summaryText(report, out));
      return report;
    } finally {
      await queueRun?.close(false);
      await opened.close();
    }
  } finally {
    await compute.dispose();
    await checkpoint.close();
  }
}

function described(checkpoint: { model?: ModelDescription; unknownArchitecture?: unknown }, path: string) {
  if (!checkpoint.model) throw (checkpoint.unknownArchitecture as Error) ?? new FormatError(`${path}: is not a model`);
  return checkpoint.model;
}

function chosenMethods(list: string | undefined): readonly StudyMethod[] {
  if (list === undefined) return localGlobalMethods;
  return list.split(',').map((name) => {
    const found = localGlobalMethods.find((method) => method.name === name.trim());
    if (!found)
      throw new UsageError(
        `--methods ${name}: is not known; expected ${localGlobalMethods.map((method) => method.name).join(', ')}`,
      );
    return found;
  });
}

function numbers(flag: string, list: string | undefined): readonly number[] | undefined {
  if (list === undefined) return undefined;
  return list.split(',').map((word) => {
    const value = Number(word);
    if (word.trim() === '' || !Number.isInteger(value))
      throw new UsageError(`${flag} ${list}: whole numbers separated by commas were expected`);
    return value;
  });
}

/** One JSON file a run. */
function storeIn(folder: string): StudyStore {
  return {
    async load(id) {
      const file = join(folder, `${id}.json`);
      const text = await readFile(file, 'utf8').catch(() => undefined);
      if (text === undefined) return undefined;
      try {
        const result = JSON.parse(text) as StudyResult;
        if (result.job.id === id && Number.isFinite(result.nll)) return result;
      } catch {
        // Below.
      }
      throw new FormatError(`${file}: is not a result of ${id}: remove it, and the study does this run again`);
    },
    async save(result) {
      await writeFileDurably(join(folder, `${result.job.id}.json`), `${JSON.stringify(result)}\n`);
    },
  };
}

function summaryText({ summaries, conclusions, originalNll, landscapes }: StudyReport, out: string): string {
  const rows = summaries.flatMap(({ bits, group, methods }) =>
    methods.map((method) => [
      `${bits}`,
      group === -1 ? 'channel' : `${group}`,
      method.method,
      (method.nll.mean - originalNll).toFixed(4),
      method.kl.mean.toFixed(5),
      method.layerError.toExponential(2),
      method.weightedLayerError.toExponential(2),
      method.seconds.toFixed(1),
    ]),
  );
  return [
    '',
    formatTable(['bits', 'group', 'method', 'NLL over original', 'KL', 'layer error', 'weighted', 'seconds'], rows),
    '',
    ...conclusions,
    `the basin's radius is ${landscapes.basin.radius.toPrecision(3)} (loss + ${landscapes.basin.rise} nats along random directions)`,
    `report: ${join(out, 'study.html')}`,
  ].join('\n');
}
