import type { AttentionArgs } from '@q/core';
import type { Heap } from '../forward/heap.js';
import { attentionReach } from '../forward/ops.js';
import type { Value, Values } from '../forward/values.js';
import type { Pool } from '../pool.js';

/** Queries whose probabilities `assembly/attention-gradient.ts` keeps at a time. */
const queriesAtOnce = 64;

/** Derivatives of attention by q, k and v. One thread computes each pair of a sequence and a key head. */
export function createAttentionGradient(pool: Pool, heap: Heap, values: Values) {
  return (
    { q, k, v, heads, kvHeads, headDim, scale, window, causal = true, bias, softCap = 0, sinks }: AttentionArgs<Value>,
    dy: Value,
  ): [Value, Value, Value] => {
    const [batch, asked] = q.shape;
    const length = k.shape[1];
    const out: [Value, Value, Value] = [values.make(q.shape), values.make(k.shape), values.make(v.shape)];
    const keys = 8 * Math.ceil(length / 8);
    const dims = 8 * Math.ceil(headDim / 8);
    const scratchBytes =
      4 *
      (2 * keys * headDim +
        dims * length +
        2 * keys * dims +
        2 * keys * queriesAtOnce +
        2 * 8 * headDim +
        2 * dims * queriesAtOnce +
        3 * 8 * keys +
        64);
    const { limit, ahead } = attentionReach(length, window, causal);
    const scratch = heap.allocate(pool.threads * scratchBytes);
    pool.run(
      'attentionGradientHeads',
      [
        ...[q, k, v, dy, ...out].map(values.address),
        ...[asked, length, heads, kvHeads, headDim, scale],
        ...[limit, ahead, bias ? values.address(bias) : 0, softCap, sinks ? values.address(sinks) : 0],
        ...[scratch, scratchBytes],
      ],
      batch * kvHeads,
      1,
    );
    heap.free(scratch);
    return out;
  };
}
