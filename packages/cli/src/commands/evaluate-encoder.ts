import { readFile } from 'node:fs/promises';
import { checkVocabulary, textLines, textSequences } from '@q/calib';
import { type Checkpoint, unreadHead } from '@q/checkpoint';
import type { ForwardEngine, ModelDescription } from '@q/core';
import {
  type ClassComparison,
  classifySequences,
  compareClasses,
  compareEmbeddings,
  type EmbeddingComparison,
  embedSequences,
  pearson,
  spearman,
} from '@q/eval';
import { inputExecution } from '@q/execution';
import { meanOfTokens, type SentenceModules } from '@q/models';
import type { Compute } from '../engine.js';
import { type ScoredPair, scoredPairs } from '../scored-pairs.js';
import type { Terminal } from '../terminal.js';
import { openTokenizer, parseDocuments } from '../texts.js';
import { formatBytes } from '../units.js';
import { UsageError } from '../usage-error.js';
import type { EvalOptions } from './evaluate.js';

export interface ComparedEncoders {
  readonly path: string;
  readonly model: Checkpoint;
  readonly against: Checkpoint | undefined;
  /** Modules of the original. */
  readonly sentences: SentenceModules | undefined;
}

/** Agreement of a model's similarities with those that people gave: correlation of the ranks and of the values. */
interface ScoredPairs {
  readonly pairs: number;
  readonly spearman: number;
  readonly pearson: number;
  /** The same of the original. */
  readonly originalSpearman: number;
}

interface EncoderEvaluation extends Partial<EmbeddingComparison>, Partial<ClassComparison> {
  readonly sts?: ScoredPairs;
}

/** The engine gets texts with at most as many tokens as this many full sequences. */
const batch = 8;

/**
 * `q eval ENCODER --against ORIGINAL --text LINES.txt`: the change of the embeddings of each line or, for a classifier,
 * of its classes of lines or tokens.
 */
export async function evaluateEncoder(
  { path, model, against, sentences = meanOfTokens }: ComparedEncoders,
  options: EvalOptions,
  compute: Compute,
  terminal: Terminal,
  signal: AbortSignal,
): Promise<void> {
  if (!against)
    throw new UsageError(
      '--against ORIGINAL is needed: a model without an output head is scored by the change of its vectors',
    );
  if (!model.model) throw model.unknownArchitecture as Error;
  if (!against.model) throw against.unknownArchitecture as Error;
  const text = options.text as string;
  const bytes = await readFile(text).catch((error) => {
    throw new UsageError(`${text}: the text cannot be read (${error.code ?? error.message})`);
  });
  const pairs = scoredPairs(text, bytes);
  const count = options.windows;
  const lines = pairs
    ? pairs.flatMap(({ first, second }) => [first, second])
    : textLines(parseDocuments(text, bytes)).slice(0, count);
  const longest = Math.min(options.length ?? sentences.maxLength ?? model.model.maxPositions, model.model.maxPositions);
  const tokenizer = await openTokenizer(options.against as string);
  const sequences = textSequences(lines, tokenizer, longest, text);
  checkVocabulary(sequences, model.model.vocabularySize, text);
  const engine = await compute.forward(model.model);
  const classes = classesOf(model.model, against.model);
  const [unscored] = [model, against].flatMap((checkpoint) => unreadHead(checkpoint) ?? []);
  if (unscored)
    terminal.note(
      `note: the head ${unscored.names}${unscored.stated === undefined ? '' : ` of ${unscored.stated}`} is not scored: the hidden states that it reads are compared`,
    );
  try {
    const vectorsOf = async (checkpoint: Checkpoint, task: string) => {
      const execution = await inputExecution(checkpoint, compute.kernels);
      if (execution) terminal.note(`${checkpoint.path}: ${execution.note}`);
      const run = { batch, progress: terminal.progress, signal, task, ...(execution ? { wrap: execution.wrap } : {}) };
      const own = checkpoint.model as NonNullable<Checkpoint['model']>;
      const weight = (name: string) => checkpoint.weight(name);
      const source = [engine as ForwardEngine<unknown>, weight, sequences] as const;
      const output = classes === undefined ? undefined : (own.classifier ?? own.tokenClassifier);
      return output
        ? classifySequences(own, ...source, { ...run, output })
        : embedSequences(own, ...source, { ...run, modules: sentences });
    };
    const original = await vectorsOf(against, 'original');
    const own = await vectorsOf(model, 'model');
    const compared: EncoderEvaluation = classes
      ? compareClasses(own, original)
      : {
          ...compareEmbeddings(own, original),
          ...(pairs ? { sts: judgePairs(pairs, own, original) } : {}),
        };
    const report = {
      ...compared,
      lines: lines.length,
      tokens: sequences.ids.length,
      bytes: model.bytes,
      originalBytes: against.bytes,
      pooling: classes ?? sentences.name,
      model: path,
      against: options.against,
    };
    if (options.json) terminal.printJson(report);
    else terminal.print(encoderText(compared, report));
  } finally {
    await engine.dispose();
  }
}

/** What both models give classes to, in words; undefined if they are compared by their vectors. */
function classesOf(own: ModelDescription, original: ModelDescription): string | undefined {
  if (own.classifier && original.classifier) return 'classifier';
  return own.tokenClassifier && original.tokenClassifier ? 'classifier of tokens' : undefined;
}

/** Compares cosines of pairs with the scores that people gave them. */
function judgePairs(
  pairs: readonly ScoredPair[],
  own: { readonly values: Float32Array; readonly width: number },
  original: { readonly values: Float32Array; readonly width: number },
): ScoredPairs {
  const scores = pairs.map(({ score }) => score);
  const cosines = ({ values, width }: typeof own) =>
    pairs.map((_, i) => {
      const [a, b] = [2 * i, 2 * i + 1].map((at) => values.subarray(at * width, (at + 1) * width));
      let [both, first, second] = [0, 0, 0];
      for (let j = 0; j < width; j++) {
        both += a[j] * b[j];
        first += a[j] * a[j];
        second += b[j] * b[j];
      }
      return both / Math.sqrt(first * second || 1);
    });
  const mine = cosines(own);
  return {
    pairs: pairs.length,
    spearman: spearman(mine, scores),
    pearson: pearson(mine, scores),
    originalSpearman: spearman(cosines(original), scores),
  };
}

function encoderText(
  { cosine, similaritySpearman, recallAt10, sts, agreement, kl, scoreCorrelation }: EncoderEvaluation,
  report: { readonly bytes: number; readonly originalBytes: number; readonly lines: number; readonly pooling: string },
): string {
  const lines = [`texts                 ${report.lines}, ${report.pooling}`];
  if (cosine)
    lines.push(
      `cosine to original    mean ${cosine.mean.toFixed(6)}, worst ${cosine.min.toFixed(6)}`,
      `similarity of pairs   Spearman ${similaritySpearman?.toFixed(6)}`,
      `10 nearest texts      ${(100 * (recallAt10 as number)).toFixed(2)} % stay`,
    );
  if (sts)
    lines.push(
      `scored pairs          Spearman ${sts.spearman.toFixed(4)}; the original has ${sts.originalSpearman.toFixed(4)}`,
    );
  if (agreement !== undefined)
    lines.push(
      `same class            ${(100 * agreement).toFixed(2)} %`,
      `KL of the classes     ${kl?.toFixed(6)} nats`,
      ...(scoreCorrelation === undefined ? [] : [`scores                correlation ${scoreCorrelation.toFixed(6)}`]),
    );
  lines.push(
    `size                  ${formatBytes(report.bytes)}; the original has ${formatBytes(report.originalBytes)}`,
  );
  return lines.join('\n');
}
