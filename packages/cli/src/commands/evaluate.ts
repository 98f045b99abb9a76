import type { Windows } from '@q/calib';
import { checkVocabulary } from '@q/calib';
import { type Checkpoint, readSentenceModules, sourceBytes } from '@q/checkpoint';
import { CalibrationError, elementCount } from '@q/core';
import { type Evaluation, evaluate, runWindows } from '@q/eval';
import { inputExecution } from '@q/execution';
import { adaptedWeights } from '../adapter-option.js';
import type { Weights } from '../adapter-tuners/adapter-tuner.js';
import type { CommandContext } from '../command.js';
import { type Compute, createCompute } from '../engine.js';
import { openModel } from '../open-model.js';
import type { Terminal } from '../terminal.js';
import { loadWindows } from '../texts.js';
import { formatBytes } from '../units.js';
import { UsageError } from '../usage-error.js';
import { evaluateEncoder } from './evaluate-encoder.js';
import { scoreWithCache } from './score-with-cache.js';

export interface EvalOptions {
  readonly against?: string;
  readonly adapter?: string;
  readonly cache?: string;
  readonly text?: string;
  readonly length?: number;
  readonly windows?: number;
  readonly engine?: string;
  readonly threads?: number;
  readonly kernels?: string;
  readonly json?: boolean;
}

/** `q eval MODEL`: perplexity, and KL divergence to another model, on fixed windows. */
export async function evalCommand(
  path: string,
  options: EvalOptions,
  { terminal, signal, vocabulary }: CommandContext,
): Promise<void> {
  if (!options.text) throw new UsageError('--text FILE is needed: the text to score');
  const { length = 256, windows: count } = options;
  const model = await openModel(path, vocabulary);
  const against = options.against === undefined ? undefined : await openModel(options.against, vocabulary);
  const compute = await createCompute({
    engine: options.engine,
    kernels: options.kernels,
    threads: options.threads,
  });
  try {
    const sentences = await readSentenceModules(options.against ?? path);
    if (sentences || (model.model && !model.model.head)) {
      const compared = { path, model, against, sentences, length: options.length };
      await evaluateEncoder(compared, options, compute, terminal, signal);
      return;
    }
    const windows = await loadWindows(path, {
      ...{ path: options.text, length, count },
      ...{ progress: terminal.progress, signal },
    });
    const weights = options.adapter === undefined ? undefined : await adaptedWeights(options.adapter, model);
    const result =
      options.cache === undefined
        ? await score(model, windows, compute, { against, weights, terminal, signal })
        : await scoreWithCache(options.cache, model, windows, compute, { against, weights, terminal, signal });
    const { bytes, bitsPerWeight } = sizeOf(model);
    if (options.json)
      terminal.printJson({
        ...result,
        kl: result.kl ?? null,
        bytes,
        bitsPerWeight,
        windows: windows.count,
        length,
        model: path,
        against: options.against ?? null,
        ...(options.cache === undefined ? {} : { cache: options.cache }),
        ...(options.adapter === undefined ? {} : { adapter: options.adapter }),
      });
    else {
      terminal.print(`perplexity      ${result.perplexity.toFixed(4)}`);
      if (result.kl !== undefined) {
        terminal.print(`KL divergence   ${result.kl.toFixed(6)} nats per token`);
        terminal.print(`of 99 and 99.9 %  at most ${result.klP99?.toFixed(6)} and ${result.klP999?.toFixed(6)} nats`);
        terminal.print(`same top token  ${(100 * (result.topAgreement as number)).toFixed(2)} %`);
        terminal.print(`perplexity of ${options.against}: ${result.againstPerplexity?.toFixed(4)}`);
      }
      terminal.print(
        `size            ${formatBytes(bytes)}, ${bitsPerWeight.toFixed(3)} bits per weight of the linears`,
      );
    }
  } finally {
    await compute.dispose();
    await model.close();
    await against?.close();
  }
}

/** Settings for scoring a model. */
export interface ScoreOptions {
  /** Another model to compare with. */
  readonly against?: Checkpoint;
  /** Weights that replace the model's own. */
  readonly weights?: Weights;
  readonly terminal: Terminal;
  readonly signal: AbortSignal;
}

/** Scores a model, and compares it with another, on the same windows. */
export async function score(
  model: Checkpoint,
  windows: Windows,
  compute: Compute,
  { against, weights, terminal, signal }: ScoreOptions,
): Promise<Evaluation> {
  if (!model.model) throw model.unknownArchitecture as Error;
  const engine = await compute.forward(model.model);
  const options = { progress: terminal.progress, signal };
  try {
    const prepare = async (checkpoint: Checkpoint, task: string, own?: Weights) => {
      if (!checkpoint.model) throw checkpoint.unknownArchitecture as Error;
      if (windows.length > checkpoint.model.maxPositions) {
        throw new CalibrationError(
          `${checkpoint.path}: windows of ${windows.length} tokens are longer than the model's ${checkpoint.model.maxPositions} positions: give a smaller --length`,
        );
      }
      checkVocabulary(windows, checkpoint.model.vocabularySize, 'the text');
      for (const note of checkpoint.notes) terminal.note(`note: ${checkpoint.path}: ${note}`);
      const execution = own ? undefined : await inputExecution(checkpoint, compute.kernels);
      if (execution) terminal.note(`${checkpoint.path}: ${execution.note}`);
      return runWindows(checkpoint.model, engine, own ?? ((name) => checkpoint.weight(name)), windows, {
        ...options,
        task,
        ...(execution ? { wrap: execution.wrap } : {}),
      });
    };
    const original = against && (await prepare(against, 'original'));
    return await evaluate(await prepare(model, 'model', weights), windows, {
      ...options,
      against: original,
      kernels: compute.kernels,
    });
  } finally {
    await engine.dispose();
  }
}

/** Bytes of all tensors, and bits per weight over the linears of the blocks. */
export function sizeOf(checkpoint: Checkpoint): {
  bytes: number;
  bitsPerWeight: number;
} {
  const { model, tensors, bytes, quantizedModules } = checkpoint;
  const quantized = new Set(quantizedModules);
  let bits = 0;
  let weights = 0;
  for (const { module, inFeatures, outFeatures } of model?.blocks.flatMap(({ linears }) => linears) ?? []) {
    weights += inFeatures * outFeatures;
    const own = quantized.has(module)
      ? [...tensors.keys()].filter((name) => name.startsWith(`${module}.`) && !name.endsWith('.bias'))
      : [`${module}.weight`];
    for (const name of own) {
      const entry = tensors.get(name);
      if (entry) bits += 8 * sourceBytes(checkpoint, entry);
    }
  }
  if (weights === 0)
    for (const entry of tensors.values())
      [bits, weights] = [bits + 8 * sourceBytes(checkpoint, entry), weights + elementCount(entry.shape)];
  return { bytes, bitsPerWeight: bits / weights };
}
