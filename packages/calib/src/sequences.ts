import { CalibrationError } from '@q/core';
import type { TextEncoderLike } from './token-stream.js';
import type { Windows } from './windows.js';

/** Texts as token ids, each a sequence of its own. */
export interface Sequences extends Windows {
  readonly lengths: Int32Array;
  /** `order[i]` is the index of the text that sequence `i` is: sequences are sorted by length. */
  readonly order: Int32Array;
}

/**
 * One sequence a text, with what the tokenizer puts around it, cut to `longest` tokens; sorted from the longest to the
 * shortest, texts of one length in their order. What an encoder reads: no text is seen from another one.
 * @throws CalibrationError when there is no text, or no token fits between what stands around it
 */
export function textSequences(
  texts: readonly string[],
  tokenizer: TextEncoderLike,
  longest: number,
  name = 'the text',
): Sequences {
  const { opening = [], closing = [] } = tokenizer;
  const room = longest - opening.length - closing.length;
  if (room < 1)
    throw new CalibrationError(
      `sequences of ${longest} tokens hold none of the text beside the ${opening.length + closing.length} that the tokenizer puts around it: give a larger length`,
    );
  if (texts.length === 0) throw new CalibrationError(`${name}: has no text`);
  const all = texts.map((text) => [...opening, ...tokenizer.encode(text).slice(0, room), ...closing]);
  const empty = all.findIndex((ids) => ids.length === 0);
  if (empty >= 0) throw new CalibrationError(`${name}: text ${empty + 1} has no token`);
  const order = Int32Array.from(all.keys()).sort((a, b) => all[b].length - all[a].length || a - b);
  const sorted = [...order].map((index) => all[index]);
  return {
    ids: Int32Array.from(sorted.flat()),
    count: sorted.length,
    length: sorted[0].length,
    lengths: Int32Array.from(sorted, (ids) => ids.length),
    order,
  };
}

/** Every line of documents that has something on it. */
export function textLines(documents: readonly string[]): string[] {
  return documents.flatMap((document) => document.split('\n').map((line) => line.trim())).filter((line) => line !== '');
}
