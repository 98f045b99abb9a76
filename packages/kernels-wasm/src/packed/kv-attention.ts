import { checkKvAttention, type KvAttentionArgs, type PackedKv } from '@q/core';
import type { Heap } from '../forward/heap.js';
import type { Pool } from '../pool.js';

/** Positions that are dequantized at a time, `BLOCK` of `assembly/kv-attention.ts`. */
const blockPositions = 64;
/** The most queries that share a dequantized block. */
const together = 32;

const layoutOf = ({ bits, along, size }: PackedKv) => [bits, along === 'tokens' ? 1 : 0, size];

/** Attention over a quantized cache, with queries and outputs outside of the pool's memory. */
export function kvAttention(pool: Pool, heap: Heap, args: KvAttentionArgs): Float32Array {
  const { queries } = args;
  const [from, to] = [heap.allocate(queries.byteLength), heap.allocate(queries.byteLength)];
  try {
    const at = (address: number) => new Float32Array(pool.memory.buffer, address, queries.length);
    at(from).set(queries);
    kvAttentionInPlace(pool, heap, { ...args, queries: { length: queries.length, address: from } }, to);
    return at(to).slice();
  } finally {
    for (const address of [from, to]) heap.free(address);
  }
}

/** {@link KvAttentionArgs} whose queries are in the pool's memory. */
export type PlacedKvAttention = Omit<KvAttentionArgs, 'queries'> & {
  readonly queries: { readonly length: number; readonly address: number };
};

/**
 * Attention over a quantized cache. A unit of work is a head of keys with a chunk of the queries that share it.
 * @param result address of the outputs
 */
export function kvAttentionInPlace(pool: Pool, heap: Heap, args: PlacedKvAttention, result: number): void {
  checkKvAttention(args);
  const { queries, tokens, heads, kvHeads, headDim, capacity, packed, keys, values, leading = 0, window = 0 } = args;
  if (queries.length === 0) return;
  const addresses: number[] = [];
  const room = (bytes: number) => {
    const at = heap.allocate(bytes);
    addresses.push(at);
    return at;
  };
  const upload = (array: Float32Array | Uint8Array | Uint32Array) => {
    const at = room(array.byteLength);
    new Uint8Array(pool.memory.buffer, at, array.byteLength).set(
      new Uint8Array(array.buffer, array.byteOffset, array.byteLength),
    );
    return at;
  };
  try {
    const scratchBytes = 4 * headDim * 2 * blockPositions + 4 * blockPositions + together * (4 * headDim + 16);
    pool.run(
      'kvAttention',
      [
        queries.address,
        upload(keys.codes),
        upload(keys.scales),
        upload(values.codes),
        upload(values.scales),
        upload(args.unpacked ?? new Float32Array(0)),
        result,
        upload(Uint32Array.from([...layoutOf(keys), ...layoutOf(values)])),
        tokens,
        heads,
        kvHeads,
        headDim,
        capacity,
        packed,
        leading,
        window,
        args.scale ?? 1 / Math.sqrt(headDim),
        args.reach ?? leading + packed + window,
        together,
        room(scratchBytes * pool.threads),
        scratchBytes,
      ],
      kvHeads * Math.ceil((tokens * heads) / kvHeads / together),
      1,
    );
  } finally {
    for (const at of addresses) heap.free(at);
  }
}
