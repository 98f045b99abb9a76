import { KernelError, ShapeError } from '@q/core';
import type { Gpu } from '../device/gpu.js';
import { type KvLayout, kvAttention } from '../wgsl/kv-attention.js';

/** Codes of keys or values: unsigned, LSB-first along the channels. */
export interface PackedKv extends KvLayout {
  /** `[kvHeads, capacity, headDim * bits / 8]` bytes. */
  readonly codes: Uint8Array;
  /**
   * Of (scale, zero): `[kvHeads, capacity, headDim / size]` along channels, `[kvHeads, ceil(capacity / size), headDim]` along
   * tokens. `value = (code - zero) * scale`.
   */
  readonly scales: Float32Array;
}

export interface KvAttentionArgs {
  /** `[tokens, heads, headDim]`: the last `tokens` of the sequence; each sees what comes up to itself. */
  readonly queries: Float32Array;
  readonly tokens: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Default `1 / sqrt(headDim)`. */
  readonly scale?: number;
  /** Tokens that `keys` and `values` have room for, and how many of these are there. */
  readonly capacity: number;
  readonly packed: number;
  readonly keys: PackedKv;
  readonly values: PackedKv;
  /** Tokens behind the packed ones, in f32: keys, then values, `[2, kvHeads, window, headDim]`. */
  readonly recent?: Float32Array;
  readonly window?: number;
}

/**
 * Attention over a quantized cache, `[tokens, heads, headDim]`.
 * @throws ShapeError when an array does not have the values that its shape needs, KernelError when one exceeds a binding
 */
export async function gpuKvAttention(gpu: Gpu, args: KvAttentionArgs): Promise<Float32Array> {
  const { queries, tokens, heads, kvHeads, headDim, capacity, packed, keys, values, window = 0 } = args;
  const recent = args.recent ?? new Float32Array(0);
  const length = packed + window;
  const need = (what: string, found: number, needed: number) => {
    if (found !== needed) throw new ShapeError(`attention: ${what} has ${found} values, ${needed} are needed`);
  };
  if (headDim % 16 !== 0 || heads % kvHeads !== 0 || packed > capacity || tokens > length) {
    throw new ShapeError(
      `attention: ${heads} heads of ${headDim} channels over ${kvHeads} (channels in multiples of 16), ${packed} of ${capacity} positions and ${window} more for ${tokens} queries do not fit together`,
    );
  }
  need('queries', queries.length, tokens * heads * headDim);
  need('the recent window', recent.length, 2 * kvHeads * window * headDim);
  for (const [name, kv] of [
    ['keys', keys],
    ['values', values],
  ] as const) {
    need(`codes of ${name}`, kv.codes.length, (kvHeads * capacity * headDim * kv.bits) / 8);
    const groups = kv.along === 'channels' ? (capacity * headDim) / kv.size : Math.ceil(capacity / kv.size) * headDim;
    need(`scales of ${name}`, kv.scales.length, 2 * kvHeads * groups);
  }
  const most = gpu.device.limits.maxComputeWorkgroupsPerDimension;
  if (tokens > most) throw new KernelError(`attention of ${tokens} queries: at most ${most} at a time, split them`);
  const { buffers } = gpu;
  const out = new Float32Array(queries.length);
  if (out.length === 0) return out;
  const storage: GPUBuffer[] = [];
  try {
    for (const [array, label] of [
      [queries, 'queries'],
      [keys.codes, 'keys'],
      [keys.scales, 'key scales'],
      [values.codes, 'values'],
      [values.scales, 'value scales'],
      // A binding is never empty: one vec4 that nobody reads.
      [recent.length > 0 ? recent : new Float32Array(4), 'recent keys and values'],
    ] as const) {
      storage.push(buffers.upload(array, label));
    }
    storage.push(buffers.create(out.byteLength, 'attention'));
    const kernel = kvAttention({ headDim, keys: layoutOf(keys), values: layoutOf(values) });
    const parameters = {
      tokens,
      heads,
      kv_heads: kvHeads,
      capacity,
      packed,
      window,
      length,
      scale: args.scale ?? 1 / Math.sqrt(headDim),
    };
    await gpu.run([await gpu.prepare(kernel, parameters, storage, [heads, tokens])]);
    return await gpu.read(storage[6], out);
  } finally {
    buffers.free(...storage);
  }
}

const layoutOf = ({ bits, along, size }: KvLayout): KvLayout => ({ bits, along, size });
