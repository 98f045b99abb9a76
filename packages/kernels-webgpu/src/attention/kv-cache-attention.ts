import { checkKvAttention, KernelError, type KvAttentionArgs, type KvLayout } from '@q/core';
import type { Gpu } from '../device/gpu.js';
import { kvAttention } from '../wgsl/kv-attention.js';

/**
 * Attention over a quantized cache. Returns `[tokens, heads, headDim]`.
 * @throws ShapeError when an array does not have the values that its shape needs, KernelError when one exceeds a
 *   binding
 */
export async function gpuKvAttention(gpu: Gpu, args: KvAttentionArgs): Promise<Float32Array> {
  const { queries, tokens, heads, kvHeads, headDim, capacity, packed, keys, values, leading = 0, window = 0 } = args;
  const unpacked = args.unpacked ?? new Float32Array(0);
  const length = leading + packed + window;
  checkKvAttention(args);
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
      // A binding must not be empty, so it has one vec4 that no kernel reads.
      [unpacked.length > 0 ? unpacked : new Float32Array(4), 'unpacked keys and values'],
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
      leading,
      window,
      length,
      scale: args.scale ?? 1 / Math.sqrt(headDim),
      reach: args.reach ?? length,
    };
    await gpu.run([await gpu.prepare(kernel, parameters, storage, [heads, tokens])]);
    return await gpu.read(storage[6], out);
  } finally {
    buffers.free(...storage);
  }
}

const layoutOf = ({ bits, along, size }: KvLayout): KvLayout => ({ bits, along, size });
