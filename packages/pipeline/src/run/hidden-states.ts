import type { BlockWalk } from '@q/blockwise';

/** The most bytes that are kept. For each kept block, a training that follows saves a pass through that block. */
const mostBytes = 256e6;

/** Hidden states of the unquantized model after its blocks. A walk keeps them for a training that follows. */
export interface HiddenStates {
  /** Copies the states after a block, unless this would take too much memory. */
  keep<T>(block: number, original: BlockWalk<T>): void;
  /** `[count, length, hidden]` by the index of the block. */
  readonly kept: ReadonlyMap<number, Float32Array>;
}

/** Bytes of the kept states of a model's blocks, which all have the same size. */
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
