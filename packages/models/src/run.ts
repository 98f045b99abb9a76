import { type BlockDescription, languageModel, type ModelDescription, type Runtime, type StageState } from '@q/core';

/** Runs hidden states `[batch, length, hiddenSize]` through one block. Intermediate values are freed stage by stage. */
export function runBlock<T>(block: BlockDescription, runtime: Runtime<T>, hidden: T): T {
  const { ops } = runtime;
  return ops.scope(() => {
    let state: StageState<T> = block.begin(runtime, hidden);
    for (const stage of block.stages) {
      const next = ops.scope(() => stage.run(runtime, state));
      const alive = new Set(Object.values(next));
      for (const handle of Object.values(state)) if (handle !== hidden && !alive.has(handle)) ops.dispose(handle);
      state = next;
    }
    return state.residual;
  });
}

/** Hidden states after the last block. Those between two blocks are freed. */
function throughBlocks<T>(
  model: ModelDescription,
  runtime: Runtime<T>,
  ids: Int32Array,
  batch: number,
  length: number,
): T {
  const { ops } = runtime;
  let hidden = ops.scope(() => model.embed(runtime, ids, batch, length));
  for (const block of model.blocks) {
    const next = runBlock(block, runtime, hidden);
    ops.dispose(hidden);
    hidden = next;
  }
  return hidden;
}

/** Logits `[batch, length, vocabularySize]` of ids `[batch, length]`, row-major; every weight must be in the runtime. */
export function forward<T>(
  model: ModelDescription,
  runtime: Runtime<T>,
  ids: Int32Array,
  batch: number,
  length: number,
): T {
  const { ops } = runtime;
  return ops.scope(() => {
    const hidden = throughBlocks(model, runtime, ids, batch, length);
    return ops.scope(() => languageModel(model, 'a forward pass to logits').logits(runtime, hidden));
  });
}

/** Last hidden states `[batch, length, hiddenSize]` of ids `[batch, length]`, after the final norm. */
export function encode<T>(
  model: ModelDescription,
  runtime: Runtime<T>,
  ids: Int32Array,
  batch: number,
  length: number,
): T {
  const { ops } = runtime;
  return ops.scope(() => {
    const hidden = throughBlocks(model, runtime, ids, batch, length);
    return model.finalNorm(runtime, hidden);
  });
}

/**
 * The `count` most likely next tokens of `prompt`; each is appended before the next is computed. The whole sequence is
 * computed again for every token, so use it for checks on small models. Of equal logits the lower id is taken.
 */
export async function greedy<T>(
  model: ModelDescription,
  runtime: Runtime<T>,
  prompt: Int32Array,
  count: number,
): Promise<number[]> {
  const { ops } = runtime;
  const ids = [...prompt];
  for (let step = 0; step < count; step++) {
    const last = ops.scope(() => {
      const logits = forward(model, runtime, Int32Array.from(ids), 1, ids.length);
      return ops.rows(ops.reshape(logits, [ids.length, model.vocabularySize]), ids.length - 1, 1);
    });
    ids.push(indexOfLargest(await ops.data(last)));
    ops.dispose(last);
  }
  return ids.slice(prompt.length);
}

function indexOfLargest(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}
