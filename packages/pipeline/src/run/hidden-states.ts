import type { BlockWalk } from '@q/blockwise';

/** The most bytes that are kept: what a training that follows saves is a pass through a block for each of them. */
const mostBytes = 256e6;

/** What a walk leaves for a training that follows it: hidden states of the unquantized model behind its blocks. */
export interface HiddenStates {
  /** Copies what is behind a block, unless that would be too much memory. */
  keep<T>(block: number, original: BlockWalk<T>): void;
  /** `[count, length, hidden]` by the index of the block. */
  readonly kept: ReadonlyMap<number, Float32Array>;
}

/** Bytes that are kept of a model's blocks, all of them alike. */
export function hiddenStateBytes(blocks: number, tokens: number, hiddenSize: number): number {
  const each = 4 * tokens * hiddenSize;
  return each * Math.min(blocks, Math.floor(mostBytes / each));
}

export function createHiddenStates(limit: number = mostBytes): HiddenStates {
  const kept = new Map<number, Float32Array>();
  let left = limit;
  return {
    kept,
    keep(block, original) {
      const parts = Array.from({ length: original.batches }, (_, batch) => original.residual(batch));
      const count = parts.reduce((sum, { length }) => sum + length, 0);
      if (4 * count > left) return;
      left -= 4 * count;
      const all = new Float32Array(count);
      let at = 0;
      for (const part of parts) {
        all.set(part, at);
        at += part.length;
      }
      kept.set(block, all);
    },
  };
}
