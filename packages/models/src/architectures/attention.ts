import type { AttentionDescription, CacheSite, LinearDescription, Runtime, ScalableEdge } from '@q/core';
import type { RotaryPositions } from '../rotary-positions.js';
import { linear } from './linear-description.js';
import { applyNorm, applyNormPerHead, type Norm, tensorsOfNorm } from './norm.js';

export interface AttentionOptions {
  /** Index of the block. */
  readonly block: number;
  readonly hidden: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** One linear each for queries, keys and values, or one fused linear: all queries, all keys, all values. */
  readonly input:
    | { readonly query: string; readonly key: string; readonly value: string }
    | {
        readonly fused: string;
        /** Query, key and value of each head are next to each other (GPT-NeoX). Needs as many key heads as heads. */
        readonly byHead?: boolean;
      };
  readonly output: string;
  readonly inputBias: boolean;
  readonly outputBias: boolean;
  /** Multiplies the scores; `1 / sqrt(headDim)` when absent. */
  readonly scale?: number;
  /** Sliding window in tokens; unlimited when absent. */
  readonly window?: number;
  /** Limit of the scores (`AttentionArgs.softCap`). */
  readonly softCap?: number;
  /** Tensor `[heads]` of the heads' sinks. */
  readonly sinks?: string;
  /** False: queries see the keys after them. */
  readonly causal?: boolean;
  /** Absent in blocks without positions. */
  readonly rotary?: RotaryPositions;
  /**
   * Norms of queries and keys before their rotation: of each head when they are `headDim` wide, else of all heads
   * together.
   */
  readonly norms?: { readonly query: Norm; readonly key: Norm };
  /** Multiplies queries after their rotation: one factor a position, beginning at `start`; undefined when all are 1. */
  queryFactors?(start: number, length: number): Float32Array | undefined;
}

/** Self-attention: computes the input of its output linear from a norm's output. */
export interface Attention {
  readonly linears: readonly LinearDescription[];
  /** Linears of the first stage, which read the input. */
  readonly readers: readonly string[];
  readonly output: string;
  /** Tensors that belong to no linear, with their shapes. */
  readonly kept: readonly [name: string, shape: readonly number[]][];
  /** `v->o`; the edge of the norm is made from `readers`. */
  readonly edges: readonly ScalableEdge[];
  readonly fusionGroups: readonly (readonly string[])[];
  readonly description: AttentionDescription;
  /** `[batch, length, hidden]` -> `[batch, length, heads*headDim]`, without the output linear. */
  mix<T>(runtime: Runtime<T>, input: T): T;
}

/** Grouped-query attention with rotary positions. */
export function describeAttention(options: AttentionOptions): Attention {
  const { hidden, heads, kvHeads, headDim, input, output, sinks, norms } = options;
  const [wide, narrow] = [heads * headDim, kvHeads * headDim];
  const fused = 'fused' in input;
  const inputs = fused
    ? [linear(input.fused, hidden, wide + 2 * narrow, options.inputBias, 'query', 'key', 'value')]
    : [
        linear(input.query, hidden, wide, options.inputBias, 'query'),
        linear(input.key, hidden, narrow, options.inputBias, 'key'),
        linear(input.value, hidden, narrow, options.inputBias, 'value'),
      ];
  const readers = inputs.map(({ module }) => module);
  const value: AttentionDescription['value'] = fused
    ? {
        module: input.fused,
        ...(input.byHead
          ? { rows: [2 * headDim, 3 * headDim], period: 3 * headDim }
          : { rows: [wide + narrow, wide + 2 * narrow] }),
      }
    : { module: input.value };
  return {
    linears: [...inputs, linear(output, wide, hidden, options.outputBias, 'output')],
    readers,
    output,
    kept: [
      ...(norms ? [norms.query, norms.key].flatMap(tensorsOfNorm) : []),
      ...(sinks === undefined ? [] : [[sinks, [heads]] as [string, readonly number[]]]),
    ],
    edges: [
      {
        id: 'v->o',
        producer: { kind: 'linear', ...value },
        consumers: [output],
        repeat: { times: heads / kvHeads, headDim },
      },
    ],
    fusionGroups: fused ? [] : [readers],
    description: {
      heads,
      kvHeads,
      headDim,
      value,
      output,
      ...(norms ? { norms: [norms.query.module, norms.key.module] } : {}),
    },
    mix: (runtime, x) => mix(runtime, options, x),
  };
}

function mix<T>(runtime: Runtime<T>, options: AttentionOptions, x: T): T {
  const { ops, start = 0 } = runtime;
  const { block, heads, kvHeads, headDim, norms, rotary, sinks } = options;
  const site = (kind: CacheSite['kind'], stage: CacheSite['stage']): CacheSite => ({ block, kind, stage });
  const [q, k, v] = queriesKeysValues(runtime, options, x);
  const normed = (norm: Norm | undefined, y: T): T => {
    if (!norm) return y;
    return norm.width === headDim ? applyNormPerHead(runtime, norm, y) : applyNorm(runtime, norm, y);
  };
  const table = rotary?.table(start + ops.shape(x)[1]!);
  const placed = (y: T, count: number): T => (table ? ops.rotary(y, count, table, start) : y);
  const queries = placed(normed(norms?.query, q), heads);
  const factors = options.queryFactors?.(start, ops.shape(x)[1]!);
  const keys = runtime.cache(site('key', 'beforeRope'), normed(norms?.key, k));
  return ops.attention({
    q: runtime.query(block, factors ? ops.mul(queries, ops.fromF32(factors, [1, factors.length, 1])) : queries),
    k: runtime.cache(site('key', 'afterRope'), placed(keys, kvHeads)),
    v: runtime.cache(site('value', 'afterRope'), v),
    heads,
    kvHeads,
    headDim,
    scale: options.scale ?? 1 / Math.sqrt(headDim),
    window: options.window,
    ...(options.softCap === undefined ? {} : { softCap: options.softCap }),
    ...(options.causal === false ? { causal: false } : {}),
    ...(sinks === undefined ? {} : { sinks: runtime.weight(sinks) }),
  });
}

function queriesKeysValues<T>(runtime: Runtime<T>, options: AttentionOptions, x: T): readonly [T, T, T] {
  const { ops } = runtime;
  const { input, heads, kvHeads, headDim } = options;
  if (!('fused' in input))
    return [runtime.linear(input.query, x), runtime.linear(input.key, x), runtime.linear(input.value, x)];
  const all = runtime.linear(input.fused, x);
  const [wide, narrow] = [heads * headDim, kvHeads * headDim];
  if (!input.byHead) return ops.split(all, [wide, narrow, narrow]) as [T, T, T];
  const [batch, length] = ops.shape(all) as [number, number];
  const parts = ops.split(ops.reshape(all, [batch, length, heads, 3 * headDim]), [headDim, headDim, headDim]);
  return parts.map((part) => ops.reshape(part, [batch, length, wide])) as [T, T, T];
}
