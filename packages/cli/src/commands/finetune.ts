import { totalmem } from 'node:os';
import { join } from 'node:path';
import { checkVocabulary, type Windows } from '@q/calib';
import {
  CalibrationError,
  createContext,
  createRandom,
  type ModelDescription,
  type OptionRecord,
  type QuantError,
  SchemeError,
  unknownOption,
} from '@q/core';
import { writeFileDurably } from '@q/durable-files';
import { evaluate, runWindows } from '@q/eval';
import { type RunRecord, reportName, resumableTraining } from '@q/pipeline';
import type { AdapterTuner, AdapterTunerResult, Weights } from '../adapter-tuners/adapter-tuner.js';
import { type CommandContext, type FlagValues, flagOf } from '../command.js';
import { type Compute, createCompute } from '../engine.js';
import { EvaluationError, endsAgain } from '../evaluation-error.js';
import { type HeldOutFlags, heldOutText } from '../held-out-text.js';
import { openModel } from '../open-model.js';
import { adapterTuners } from '../registry.js';
import type { Terminal } from '../terminal.js';
import { loadWindows } from '../texts.js';
import { formatBytes, formatSeconds, formatTable } from '../units.js';
import { UsageError } from '../usage-error.js';

export interface FineTuneOptions extends FlagValues, HeldOutFlags {
  readonly method?: string;
  readonly text?: string;
  readonly samples?: number;
  readonly length?: number;
  readonly seed?: number;
  readonly engine?: string;
  readonly threads?: number;
  readonly json?: boolean;
}

/** The report of `q finetune`; also `q-report.json` in the output folder. */
export interface FineTuneReport extends Omit<AdapterTunerResult, 'variants'> {
  readonly model: string;
  readonly out: string;
  readonly method: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly text: { readonly name: string; readonly windows: number; readonly length: number };
  /** Perplexity on held-out text: of the original model, and of the result of the training. */
  readonly evaluation?: {
    readonly text: string;
    readonly windows: number;
    readonly perplexity: Readonly<Record<string, number>>;
  };
  readonly engine: string;
  readonly resumed: boolean;
  /** Identifies the training: the same command then finds that it is finished. */
  readonly run: RunRecord;
}

/** `q finetune MODEL OUT`: trains a model on a text, and writes an adapter or a task into OUT. */
export async function fineTuneCommand(
  path: string,
  out: string,
  options: FineTuneOptions,
  { terminal, signal, vocabulary, files }: CommandContext,
): Promise<FineTuneReport> {
  const { method, tuner } = tunerFrom(options);
  if (!options.text) throw new UsageError('--text FILE is needed: the text to learn');
  const { length = 256, samples: count = 128, seed = 0 } = options;
  const checkpoint = await openModel(path, vocabulary);
  const compute = await createCompute({
    engine: options.engine,
    threads: options.threads,
  });
  try {
    const { model } = checkpoint;
    if (!model) throw checkpoint.unknownArchitecture as Error;
    const refusal = tuner.refuse?.(checkpoint);
    if (refusal) throw new SchemeError(refusal);
    if (length > model.maxPositions)
      throw new CalibrationError(`--length ${length} is longer than the model's ${model.maxPositions} positions`);
    const { text } = options;
    await tuner.forecast(checkpoint, { count, length });
    const shuffle = options.shuffle ? createRandom(seed).fork('text') : undefined;
    const windows = await loadWindows(path, { path: text, length, count, shuffle });
    checkVocabulary(windows, model.vocabularySize, text);
    const notes: string[] = [...checkpoint.notes, ...compute.notes];
    const held = await heldOutText(path, options, length, { path: text, windows, purpose: 'training' }, notes);

    const { logger, progress } = terminal;
    const context = createContext({ kernels: compute.kernels, seed, logger, progress, signal });
    const identity = { method, options: tuner.options, seed };
    let engineName = 'none';
    const ended: { report?: FineTuneReport; failure?: QuantError } = {};
    const earlier = await resumableTraining({
      ...{ out, context, checkpoint, windows, files, options: identity },
      engine: () => compute.training(model, false),
      work(engine, store) {
        engineName = engine.name;
        notes.push(...engine.notes);
        return tuner.run({ checkpoint, engine, windows, store, out, context, files });
      },
      written: ({ files: names }) => names,
      async finish({ variants: taught, ...figures }, { resumed, run }) {
        const variants = new Map<string, Weights>([['before', (name) => checkpoint.weight(name)], ...taught]);
        let scores: Record<string, number> | undefined;
        try {
          scores = held && (await scoreAll(model, variants, held.windows, compute, { progress, signal }));
        } catch (error) {
          if (!endsAgain(error)) throw error;
          ended.failure = error;
          notes.push(`not evaluated: ${error.message}`);
        }
        const perplexity = scores;
        ended.report = {
          ...{ model: path, out, method, options: tuner.options, resumed, engine: engineName },
          text: { name: text, windows: windows.count, length },
          ...figures,
          ...(held && perplexity ? { evaluation: { text: held.name, windows: held.windows.count, perplexity } } : {}),
          files: [...figures.files, reportName],
          notes: [...notes, ...figures.notes],
          run,
        };
        await writeFileDurably(join(out, reportName), `${JSON.stringify(ended.report, null, 2)}\n`, { files });
      },
    });
    if (ended.failure)
      throw new EvaluationError(
        `${ended.failure.message}\n${out} holds what was trained; its report says that it could not be evaluated`,
      );
    if (earlier) terminal.note(`${out} is finished: nothing was left to do.`);
    const report = ended.report ?? (earlier as unknown as FineTuneReport);
    if (options.json) terminal.printJson(report);
    else terminal.print(summary(report));
    return report;
  } finally {
    await compute.dispose();
    await checkpoint.close();
  }
}

/**
 * The tuner that the flags request.
 * @throws UsageError naming the flag that the method does not have
 */
function tunerFrom(flags: FineTuneOptions): { method: string; tuner: AdapterTuner } {
  const method = flags.method ?? adapterTuners[0].name;
  const found = adapterTuners.find(({ name }) => name === method);
  if (!found) throw new UsageError(`--method ${method}: ${adapterTuners.map(({ name }) => name).join(', ')} are known`);
  const known = found.options as OptionRecord;
  const keys = new Set(adapterTuners.flatMap((tuner) => Object.keys(tuner.options as OptionRecord)));
  const given = [...keys].filter((key) => flags[key] !== undefined);
  const odd = given.find((key) => !Object.hasOwn(known, key));
  if (odd !== undefined)
    throw new UsageError(`${flagOf(odd)}: --method ${method} ${unknownOption(odd, Object.keys(known))}`);
  const values = Object.fromEntries(given.map((key) => [key, flags[key]]));
  return { method, tuner: found.make({ memory: totalmem(), ...values }) };
}

async function scoreAll(
  model: ModelDescription,
  variants: ReadonlyMap<string, Weights>,
  windows: Windows,
  compute: Compute,
  { progress, signal }: Pick<CommandContext, 'signal'> & Pick<Terminal, 'progress'>,
): Promise<Record<string, number>> {
  checkVocabulary(windows, model.vocabularySize, 'the text');
  const engine = await compute.forward(model);
  try {
    const scores: Record<string, number> = {};
    for (const [name, weights] of variants) {
      const source = await runWindows(model, engine, weights, windows, { progress, signal, task: `score ${name}` });
      scores[name] = (await evaluate(source, windows, { kernels: compute.kernels, signal })).perplexity;
    }
    return scores;
  } finally {
    await engine.dispose();
  }
}

function summary(report: FineTuneReport): string {
  const { evaluation, steps, secondsPerStep, loss, trainedParameters, taskBytes, memory, measuredMemory, notes, out } =
    report;
  const rows = Object.entries(evaluation?.perplexity ?? {}).map(([name, value]) => [name, value.toFixed(4)]);
  const total = (of: Readonly<Record<string, number>>) =>
    formatBytes(Object.values(of).reduce((sum, bytes) => sum + bytes, 0));
  return [
    '',
    ...(evaluation ? [formatTable([`perplexity on ${evaluation.text}`, ''], rows), ''] : []),
    `${steps} steps of ${formatSeconds(secondsPerStep)}, loss ${loss.toFixed(4)}; ${trainedParameters} parameters trained, ${formatBytes(taskBytes)} on the disk`,
    `memory predicted ${total(memory)}${measuredMemory ? `, measured in the first step ${total(measuredMemory)}` : ''}`,
    ...notes.map((note) => `note: ${note}`),
    `folder: ${out}`,
  ].join('\n');
}
