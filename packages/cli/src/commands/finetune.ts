import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { checkVocabulary, cutWindows, type Windows } from '@q/calib';
import { openCheckpoint } from '@q/checkpoint';
import { CalibrationError, createContext, createRandom, type ModelDescription, SchemeError } from '@q/core';
import { evaluate, runWindows } from '@q/eval';
import { resumableTraining } from '@q/pipeline';
import { type Compute, createCompute } from '../engine.js';
import { type FineTuneFlags, fineTuningFrom } from '../fine-tune-options.js';
import type { FineTuningResult, Weights } from '../fine-tuning/fine-tuning.js';
import { wholeNumber } from '../recipe-options.js';
import { knownLayouts } from '../registry.js';
import type { Terminal } from '../terminal.js';
import { loadWindows } from '../texts.js';
import { formatBytes, formatSeconds, formatTable } from '../units.js';
import { UsageError } from '../usage-error.js';

export interface FineTuneOptions extends FineTuneFlags {
  readonly text?: string;
  readonly samples?: string;
  readonly length?: string;
  readonly shuffle?: boolean;
  readonly evalText?: string;
  readonly windows?: string;
  readonly eval?: boolean;
  readonly engine?: string;
  readonly threads?: string;
  readonly json?: boolean;
}

/** Windows behind those of the training that are scored when no other text is given. */
const heldOutWindows = 32;

/** What `q finetune` has done; also `q-report.json` in the output folder. */
export interface FineTuneReport {
  readonly model: string;
  readonly out: string;
  readonly method: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly text: { readonly name: string; readonly windows: number; readonly length: number };
  readonly steps: number;
  readonly loss: number;
  readonly trainedParameters: number;
  readonly secondsPerStep: number;
  readonly memory: Readonly<Record<string, number>>;
  readonly taskBytes: number;
  /** Perplexity on held-out text: of the model as it was, and of what came out of the training. */
  readonly evaluation?: {
    readonly text: string;
    readonly windows: number;
    readonly perplexity: Readonly<Record<string, number>>;
  };
  readonly engine: string;
  readonly files: readonly string[];
  readonly notes: readonly string[];
  readonly resumed: boolean;
}

/** `q finetune MODEL OUT`: teaches a model a text, and writes an adapter or a task into OUT. */
export async function fineTuneCommand(
  path: string,
  out: string,
  options: FineTuneOptions,
  terminal: Terminal,
  signal: AbortSignal,
): Promise<FineTuneReport> {
  const { method, tuning } = fineTuningFrom(options);
  if (!options.text) throw new UsageError('--text FILE is needed: the text to learn');
  const length = wholeNumber('--length', options.length, 2) ?? 256;
  const count = wholeNumber('--samples', options.samples, 1) ?? 128;
  const seed = wholeNumber('--seed', options.seed, Number.MIN_SAFE_INTEGER) ?? 0;
  const checkpoint = await openCheckpoint(path, knownLayouts);
  const compute = await createCompute({
    engine: options.engine,
    threads: wholeNumber('--threads', options.threads, 1),
  });
  try {
    const { model } = checkpoint;
    if (!model) throw checkpoint.unknownArchitecture as Error;
    const refusal = tuning.refuse?.(checkpoint);
    if (refusal) throw new SchemeError(refusal);
    if (length > model.maxPositions)
      throw new CalibrationError(`--length ${length} is longer than the model's ${model.maxPositions} positions`);
    const { text } = options;
    await tuning.forecast(checkpoint, { count, length });
    const shuffle = options.shuffle ? createRandom(seed).fork('text') : undefined;
    const windows = await loadWindows(path, { path: text, length, count, shuffle });
    checkVocabulary(windows, model.vocabularySize, text);
    const notes: string[] = [...compute.notes];
    const held = await heldOutText(path, text, options, windows, notes);

    const { logger, progress } = terminal;
    const context = createContext({ kernels: compute.kernels, seed, logger, progress, signal });
    const identity = { method, options: tuning.options, seed };
    let engineName = 'none';
    const work = { out, context, checkpoint, windows, options: identity, engine: compute.engine };
    const { result, resumed } = await resumableTraining(work, (engine, store) => {
      engineName = engine.name;
      notes.push(...engine.notes);
      return tuning.run({ checkpoint, engine, windows, store, out, context });
    });
    const variants = new Map<string, Weights>([['before', (name) => checkpoint.weight(name)], ...result.variants]);
    const scores = held && (await scoreAll(model, variants, held.windows, compute, terminal, signal));
    const report: FineTuneReport = {
      ...{ model: path, out, method, options: tuning.options, resumed, engine: engineName },
      text: { name: text, windows: windows.count, length },
      ...figuresOf(result),
      ...(held && scores ? { evaluation: { text: held.name, windows: held.windows.count, perplexity: scores } } : {}),
      files: [...result.files, 'q-report.json'],
      notes: [...notes, ...result.notes],
    };
    await writeFile(join(out, 'q-report.json'), `${JSON.stringify(report, null, 2)}\n`);
    if (options.json) terminal.printJson(report);
    else terminal.print(summary(report));
    return report;
  } finally {
    await compute.dispose();
    await checkpoint.close();
  }
}

const figuresOf = ({ steps, loss, trainedParameters, secondsPerStep, memory, taskBytes }: FineTuningResult) => ({
  ...{ steps, loss, trainedParameters, secondsPerStep, memory, taskBytes },
});

/** The text given for it, else what the training has left of its own, else none with the reason. */
async function heldOutText(
  path: string,
  text: string,
  { evalText, eval: asked, windows: count, shuffle }: FineTuneOptions,
  trained: Windows,
  notes: string[],
): Promise<{ name: string; windows: Windows } | undefined> {
  const { length } = trained;
  if (asked === false) notes.push('not evaluated: --no-eval was given');
  else if (evalText !== undefined)
    return {
      name: evalText,
      windows: await loadWindows(path, { path: evalText, length, count: wholeNumber('--windows', count, 1) }),
    };
  else {
    const all = await loadWindows(path, { path: text, length });
    const left = Math.min(wholeNumber('--windows', count, 1) ?? heldOutWindows, all.count - trained.count);
    if (!shuffle && left > 0)
      return {
        name: `${text}, the ${left} windows after those of the training`,
        windows: cutWindows(all.ids, length, { skip: trained.count, count: left }),
      };
    notes.push('not evaluated: there is no held-out text (give some with --eval-text)');
  }
  return undefined;
}

async function scoreAll(
  model: ModelDescription,
  variants: ReadonlyMap<string, Weights>,
  windows: Windows,
  compute: Compute,
  { progress }: Terminal,
  signal: AbortSignal,
): Promise<Record<string, number>> {
  checkVocabulary(windows, model.vocabularySize, 'the text');
  const engine = await compute.engine();
  try {
    const scores: Record<string, number> = {};
    for (const [name, weights] of variants) {
      const source = await runWindows(model, engine, weights, windows, { progress, signal, task: `score ${name}` });
      scores[name] = (await evaluate(source, windows, { signal })).perplexity;
    }
    return scores;
  } finally {
    await engine.dispose();
  }
}

function summary(report: FineTuneReport): string {
  const { evaluation, steps, secondsPerStep, loss, trainedParameters, taskBytes, memory, notes, out } = report;
  const rows = Object.entries(evaluation?.perplexity ?? {}).map(([name, value]) => [name, value.toFixed(4)]);
  const total = Object.values(memory).reduce((sum, bytes) => sum + bytes, 0);
  return [
    '',
    ...(evaluation ? [formatTable([`perplexity on ${evaluation.text}`, ''], rows), ''] : []),
    `${steps} steps of ${formatSeconds(secondsPerStep)}, loss ${loss.toFixed(4)}; ${trainedParameters} parameters trained, ${formatBytes(taskBytes)} on the disk`,
    `memory predicted ${formatBytes(total)}`,
    ...notes.map((note) => `note: ${note}`),
    `folder: ${out}`,
  ].join('\n');
}
