import type { BlockDescription, Runtime, Stage, StageState } from '@q/core';
import { runBlock } from '@q/models';

/** A part of the model: the state of a batch before it -> the state behind it. */
export type Step = <T>(runtime: Runtime<T>, state: Record<string, T>) => Record<string, T>;

/** Hidden states -> the input of the block's first stage. */
export const beginStep =
  (block: BlockDescription): Step =>
  (runtime, state) =>
    block.begin(runtime, state.residual);

export const stageStep =
  (stage: Stage): Step =>
  <T>(runtime: Runtime<T>, state: Record<string, T>) =>
    stage.run(runtime, state as StageState<T>);

/** Hidden states -> the block's output, in one go. */
export const blockStep =
  (block: BlockDescription): Step =>
  (runtime, { residual }) => ({ residual: runBlock(block, runtime, residual) });
