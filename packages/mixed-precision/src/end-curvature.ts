import { BlockWalk } from '@q/blockwise';
import type { Windows } from '@q/calib';
import {
  type Context,
  dequantize,
  type ForwardEngine,
  type LanguageModel,
  languageModel,
  type ModelDescription,
  quantize,
  SchemeError,
  type Tensor,
} from '@q/core';
import type { EndGradients } from '@q/end-loss';
import { roundingFit, type SensitivityUnit } from './sensitivity-unit.js';

/** Tokens of a part for which logits are computed together. */
const partTokens = 64;
/** The most parts. 1,024 tokens give the divergence of a rounded head to a few per cent. */
const mostParts = 16;
/** The most logits that are kept: 256 MB. A vocabulary of 262,144 leaves 256 tokens. */
const mostLogits = 2 ** 26;
/** The largest share of the loss that tokens get which the text lacks. */
const mostUnseen = 0.5;

/** What a pass of gradients leaves of the table of tokens and of the head's inputs. */
export interface EndCurvature {
  /** Outputs of the last block for some tokens, `[parts * length, hiddenSize]`. */
  readonly hidden: Float32Array;
  readonly parts: number;
  readonly length: number;
  /** Absent if the model declares no table whose rows `embed` looks up. */
  readonly lookups?: {
    /** The row of each entry: a token of a window, once for each window that has it. */
    readonly rows: Int32Array;
    /** `[entries, width]`: sums over the token's positions in the window of the derivatives by the row. */
    readonly gradients: Float32Array;
    readonly tokens: number;
    /** Good-Turing estimate of the share of tokens in other text of which this one has none. */
    readonly unseen: number;
  };
}

/** The uses of a weight outside of the blocks: its rows are looked up, it multiplies the head's inputs, or both. */
function usesOf(model: LanguageModel, module: string): { readonly looksUp: boolean; readonly multiplies: boolean } {
  const [name, head] = [`${module}.weight`, `${model.head.module}.weight`];
  return { looksUp: name === model.tokenTable, multiplies: name === (model.ties.get(head) ?? head) };
}

/** Collects an {@link EndCurvature} from `outputGradients`. */
export function collectEnds(
  model: ModelDescription,
  { ids, count, length: window }: Windows,
): { visit(ends: EndGradients): void; result(): EndCurvature } {
  const { hiddenSize, vocabularySize } = model;
  const tokens = count * window;
  const length = Math.min(partTokens, tokens);
  const fitting = Math.min(mostParts, Math.floor(mostLogits / (vocabularySize * length)), Math.floor(tokens / length));
  const parts = Math.max(1, fitting);
  const hidden = new Float32Array(parts * length * hiddenSize);
  const entries = entriesOf(ids, window);
  let gradients: Float32Array | undefined;
  let next = 0;
  return {
    visit({ firstToken, hidden: own, rows }) {
      const seen = own.length / hiddenSize;
      // Evenly spaced over all windows.
      for (let token = tokenOf(next); next < parts * length && token < firstToken + seen; token = tokenOf(++next)) {
        const from = (token - firstToken) * hiddenSize;
        hidden.set(own.subarray(from, from + hiddenSize), next * hiddenSize);
      }
      if (!rows) return;
      const width = rows.length / seen;
      gradients ??= new Float32Array(entries.rows.length * width);
      for (let t = 0; t < seen; t++) {
        const to = entries.of[firstToken + t] * width;
        for (let i = 0; i < width; i++) gradients[to + i] += rows[t * width + i];
      }
    },
    result: () => ({
      ...{ hidden, parts, length },
      ...(gradients ? { lookups: { rows: entries.rows, gradients, tokens, unseen: unseenShare(ids) } } : {}),
    }),
  };
  function tokenOf(index: number): number {
    return Math.floor((index * tokens) / (parts * length));
  }
}

/** Numbers the pairs of a window and a token in it. */
function entriesOf(ids: Int32Array, window: number): { readonly rows: Int32Array; readonly of: Int32Array } {
  const rows: number[] = [];
  const of = new Int32Array(ids.length);
  for (let first = 0; first < ids.length; first += window) {
    const own = new Map<number, number>();
    for (let at = first; at < first + window; at++) {
      const entry = own.get(ids[at]) ?? rows.push(ids[at]) - 1;
      own.set(ids[at], entry);
      of[at] = entry;
    }
  }
  return { rows: Int32Array.from(rows), of };
}

/**
 * The share of tokens that occur once estimates the share of tokens in other text that do not occur here (Good 1953).
 */
function unseenShare(ids: Int32Array): number {
  const counts = new Map<number, number>();
  for (const id of ids) counts.set(id, (counts.get(id) ?? 0) + 1);
  const once = [...counts.values()].filter((count) => count === 1).length;
  return Math.min(mostUnseen, once / ids.length);
}

export interface EndLossOptions<T> {
  readonly model: ModelDescription;
  readonly engine: Pick<ForwardEngine<T>, 'ops' | 'gatherGrams'>;
  readonly context: Context;
  readonly weight: (name: string) => Promise<Tensor<'f32'>>;
}

/**
 * KL divergence (nats per token) of the model with a table or a head alone rounded, for each candidate of its unit.
 *
 * For the head it is the divergence itself on some tokens, since nothing comes after the head. For looked-up rows it is
 * estimated to second order, `1/2 sum over windows and their tokens of (G . D_row)^2 / tokens`, with G the derivatives
 * of the end loss by the row. A tied table has the sum of both. Tokens that the text lacks get {@link unseenShare} of
 * the loss: their rows' own errors, with the mean squared derivatives of the tokens that the text has.
 * @throws SchemeError for a weight whose use the model does not declare
 */
export async function endLosses<T>(
  { model, engine, context, weight }: EndLossOptions<T>,
  unit: SensitivityUnit,
  curvature: EndCurvature,
): Promise<number[]> {
  const language = languageModel(model, 'a budget');
  const [module] = unit.modules;
  const { looksUp, multiplies } = usesOf(language, module);
  if ((!looksUp && !multiplies) || (looksUp && !curvature.lookups))
    throw new SchemeError(
      `${module}: the model declares no use of it from which its sensitivity follows: give it a scheme by name, or keep it`,
    );
  const original = await weight(`${module}.weight`);
  const head = multiplies ? new HeadDivergence({ model: language, engine, context, weight }, curvature) : undefined;
  const losses: number[] = [];
  try {
    await head?.begin();
    for (const candidate of unit.candidates) {
      context.signal?.throwIfAborted();
      const rounded = dequantize(quantize(original, candidate, { fit: roundingFit, kernels: context.kernels }));
      const ofRows = looksUp ? lookupLoss(original, rounded, curvature.lookups as Lookups) : 0;
      losses.push(ofRows + ((await head?.of(`${module}.weight`, rounded)) ?? 0));
    }
  } finally {
    head?.dispose();
  }
  return losses;
}

type Lookups = NonNullable<EndCurvature['lookups']>;

function lookupLoss(
  { data: original, shape: [height, width] }: Tensor<'f32'>,
  { data: rounded }: Tensor<'f32'>,
  { rows, gradients, tokens, unseen }: Lookups,
): number {
  const present = new Uint8Array(height);
  let [along, squares] = [0, 0];
  for (const [entry, row] of rows.entries()) {
    present[row] = 1;
    let product = 0;
    for (let i = 0; i < width; i++) {
      const gradient = gradients[entry * width + i];
      product += gradient * (original[row * width + i] - rounded[row * width + i]);
      squares += gradient * gradient;
    }
    along += product * product;
  }
  let [absent, error] = [0, 0];
  for (let row = 0; row < height; row++) {
    if (present[row]) continue;
    absent++;
    for (let i = row * width; i < (row + 1) * width; i++) error += (original[i] - rounded[i]) ** 2;
  }
  const seen = along / (2 * tokens);
  if (absent === 0) return seen;
  const other = ((squares / width) * (error / absent)) / (2 * tokens);
  return (1 - unseen) * seen + unseen * other;
}

/** The divergence of logits with another head, on the sampled hidden states. */
class HeadDivergence<T> {
  private readonly walk: BlockWalk<T>;
  private readonly original: Float32Array[] = [];

  constructor(
    private readonly options: EndLossOptions<T> & { readonly model: LanguageModel },
    private readonly curvature: EndCurvature,
  ) {
    const { model, engine, context } = options;
    const { parts: count, length } = curvature;
    const windows = { ids: new Int32Array(count * length), count, length };
    this.walk = new BlockWalk({ model, engine, windows, batch: 1, signal: context.signal });
  }

  async begin(): Promise<void> {
    const { model, weight } = this.options;
    this.walk.place(this.curvature.hidden);
    await this.walk.load(model.headTensors, weight);
    for (let part = 0; part < this.curvature.parts; part++)
      this.original.push((await this.walk.output(part, model.logits)).slice());
  }

  async of(name: string, rounded: Tensor<'f32'>): Promise<number> {
    const { model, weight, context } = this.options;
    const { length: rows, parts } = this.curvature;
    await this.walk.load(model.headTensors, async (asked) => (asked === name ? rounded : weight(asked)));
    let sum = 0;
    for (const [part, original] of this.original.entries()) {
      const logits = await this.walk.output(part, model.logits);
      const scores = await context.kernels.scoreLogits({ logits, original, rows, vocabulary: model.vocabularySize });
      for (const divergence of scores.original?.divergences ?? []) sum += divergence;
    }
    return sum / (rows * parts);
  }

  dispose(): void {
    this.walk.clearWeights();
    this.walk.dispose();
  }
}
