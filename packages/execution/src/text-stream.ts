import type { Tokenizer } from '@q/models';

/** Text of ids that come one by one. */
export interface TextStream {
  /** The text that this id has completed; empty while a character lacks bytes. */
  push(id: number): string;
  /** What is left at the end. */
  end(): string;
}

/** Stands for bytes that are no character, or not yet one. */
const replacement = '\ufffd';
/** Tokens before the new ones that are decoded with them: tokenizers drop the space at the start of what they decode. */
const context = 4;

/** @param prompt ids before the first one */
export function createTextStream(tokenizer: Pick<Tokenizer, 'decode'>, prompt: readonly number[]): TextStream {
  let before = prompt.slice(-context);
  let pending: number[] = [];
  const textOf = () => tokenizer.decode([...before, ...pending]).slice(tokenizer.decode(before).length);
  const take = (text: string): string => {
    before = [...before, ...pending].slice(-context);
    pending = [];
    return text;
  };
  return {
    push(id) {
      pending.push(id);
      const text = textOf();
      return text.endsWith(replacement) ? '' : take(text);
    },
    end: () => (pending.length === 0 ? '' : take(textOf())),
  };
}
