import {
  type KvCacheContent,
  languageModel,
  type ModelDescription,
  type Ops,
  type Runtime,
  type RuntimeWrapper,
  ShapeError,
} from '@q/core';
import { runBlock } from './run.js';
import { wrapRuntime } from './runtime.js';

/** A batch of sequences of the same length to which tokens are appended. */
export interface Decoder<T> {
  /** Tokens that every sequence has. */
  readonly length: number;
  /**
   * Appends tokens to every sequence.
   * @param ids `[batch, count]`, row-major
   * @returns logits after the last of them, `[batch, vocabularySize]`; the caller disposes them
   */
  append(ids: Int32Array): T;
  /** The same, with logits after each of them, `[batch, count, vocabularySize]`. */
  appendAll(ids: Int32Array): T;
  /** Frees the cache. */
  dispose(): void;
}

/**
 * Stores keys and values of one block and one sequence on the host, instead of on the engine. `KvCache` of
 * `@q/kv-cache` is one.
 */
export interface BlockCache {
  /** Takes `[tokens, kvHeads * headDim]`, positions applied. */
  append(keys: Float32Array, values: Float32Array, position?: number): void;
  /** All tokens so far. */
  read(): { readonly keys: Float32Array; readonly values: Float32Array };
  /**
   * The same as packed codes, for engines with attention over them (`Ops.attentionOnCodes`).
   * @returns undefined if kernels do not support the codes; use `read` then
   */
  codes?(): KvCacheContent | undefined;
  /** Whether its keys are rotated, so queries must be rotated too: see `queries`. */
  readonly rotates?: boolean;
  /** Queries `[tokens, heads * headDim]` that match its keys. */
  queries(plain: Float32Array): Float32Array;
  dispose(): void;
}

export interface DecoderOptions {
  /** Makes the cache of a block, for one sequence. When absent, keys and values stay on the engine in f32. */
  readonly cache?: (block: number) => BlockCache;
}

/**
 * Decoding with a cache: the engine keeps keys and values of earlier tokens, so a token costs one pass over the weights
 * and not over the whole sequence. Every wrapper of the runtime works with it, also quantized caches. If rotary
 * frequencies depend on the length (dynamic, LongRoPE), cached keys keep their first frequencies, as in transformers'
 * cache.
 */
export function createDecoder<T>(
  model: ModelDescription,
  runtime: Runtime<T>,
  batch: number,
  { cache }: DecoderOptions = {},
): Decoder<T> {
  const { ops } = runtime;
  if (cache && batch !== 1) throw new ShapeError(`a cache of blocks is for one sequence, not for ${batch}`);
  const caches = new Map<number, BlockCache>();
  const past = new Map<string, T>();
  let length = 0;
  const onEngine = (start: number): RuntimeWrapper<T> => ({
    start,
    cache(site, x, inner) {
      const own = inner(site, x);
      if (site.stage === 'beforeRope') return own;
      const key = `${site.kind} ${site.block}`;
      const before = past.get(key);
      const whole = ops.keep(before === undefined ? ops.scale(own, 1) : ops.append(before, own));
      if (before !== undefined) ops.dispose(before);
      past.set(key, whole);
      return whole;
    },
  });
  const { logits: logitsOf } = languageModel(model, 'decoding');
  const wrapper = (start: number) => (cache ? throughCaches(ops, start, caches, cache) : onEngine(start));

  function pass(ids: Int32Array, all: boolean): T {
    const count = ids.length / batch;
    if (!Number.isInteger(count) || count < 1)
      throw new ShapeError(`${ids.length} ids are no tokens for each of ${batch} sequences`);
    if (length + count > model.maxPositions)
      throw new ShapeError(`${length + count} tokens are more than the model's ${model.maxPositions} positions`);
    const cached = wrapRuntime(runtime, wrapper(length));
    const logits = ops.scope(() => {
      let hidden = model.embed(cached, ids, batch, count);
      for (const block of model.blocks) hidden = runBlock(block, cached, hidden);
      if (all) return logitsOf(cached, hidden);
      return ops.reshape(logitsOf(cached, lastTokens(hidden, count)), [batch, model.vocabularySize]);
    });
    length += count;
    return logits;
  }

  return {
    get length() {
      return length;
    },
    append: (ids) => pass(ids, false),
    appendAll: (ids) => pass(ids, true),
    dispose() {
      for (const handle of past.values()) ops.dispose(handle);
      past.clear();
      for (const cache of caches.values()) cache.dispose();
      caches.clear();
    },
  };

  /** `[batch, count, hidden]` -> `[batch, 1, hidden]`. */
  function lastTokens(hidden: T, count: number): T {
    if (count === 1) return hidden;
    const wide = ops.reshape(hidden, [batch, count * model.hiddenSize]);
    const [, last] = ops.split(wide, [(count - 1) * model.hiddenSize, model.hiddenSize]);
    return ops.reshape(last as T, [batch, 1, model.hiddenSize]);
  }
}

/** Keys and values of new tokens go through the block's cache before attention, which reads the output of the cache. */
function throughCaches<T>(
  ops: Ops<T>,
  start: number,
  caches: Map<number, BlockCache>,
  make: (block: number) => BlockCache,
): RuntimeWrapper<T> {
  let block = 0;
  return {
    start,
    query(at, x, inner) {
      block = at;
      return inner(at, x);
    },
    ops: {
      ...ops,
      attention(args) {
        const held = caches.get(block) ?? make(block);
        caches.set(block, held);
        held.append(ops.dataSync(args.k), ops.dataSync(args.v), start);
        const plain = args.bias === undefined && !args.softCap && args.sinks === undefined && args.causal !== false;
        const codes = plain && ops.attentionOnCodes ? held.codes?.() : undefined;
        if (ops.attentionOnCodes && codes) {
          const { heads, scale, window } = args;
          const asked = held.rotates ? ops.fromF32(held.queries(ops.dataSync(args.q)), ops.shape(args.q)) : args.q;
          return ops.attentionOnCodes(asked, codes, { heads, scale, ...(window === undefined ? {} : { window }) });
        }
        const { keys, values } = held.read();
        const width = args.kvHeads * args.headDim;
        const upload = (data: Float32Array) => ops.fromF32(data, [1, data.length / width, width]);
        const q = ops.fromF32(held.queries(ops.dataSync(args.q)), ops.shape(args.q));
        return ops.attention({ ...args, q, k: upload(keys), v: upload(values) });
      },
    },
  };
}
