import { ShapeError } from '@q/core';
import { type Gpu, linearWorkgroups } from '../device/gpu.js';
import { affineLayout } from '../wgsl/layouts/affine.js';
import { q4kLayout } from '../wgsl/layouts/q4k.js';
import type { KernelSource } from '../wgsl/module.js';
import { repackInvocations, repackQ4_0, repackQ8_0 } from '../wgsl/repack.js';
import { type GpuWeight, needLength, uploadWeight } from './gpu-weight.js';

export interface GgufWeight {
  readonly outFeatures: number;
  readonly inFeatures: number;
  readonly type: 'Q4_0' | 'Q8_0' | 'Q4_K';
  /** The tensor's bytes of the file, row after row. */
  readonly data: Uint8Array;
}

const blocks = {
  Q4_0: { values: 32, bytes: 18 },
  Q8_0: { values: 32, bytes: 34 },
  Q4_K: { values: 256, bytes: 144 },
};

/**
 * Uploads a weight of GGUF. Q4_K is used in the layout of the file, because its blocks are whole words. Blocks of Q4_0
 * and Q8_0 are split on the device into words of codes and words of scales.
 */
export async function ggufWeight(gpu: Gpu, weight: GgufWeight): Promise<GpuWeight> {
  const { outFeatures, inFeatures, type, data } = weight;
  const label = `gguf ${type}`;
  const block = blocks[type];
  if (inFeatures % block.values !== 0)
    throw new ShapeError(`${label}: ${inFeatures} inputs are not a multiple of its blocks of ${block.values}`);
  const rowBytes = (inFeatures / block.values) * block.bytes;
  needLength(label, 'the tensor', data, outFeatures * rowBytes);
  const rows = (start: number, size: number) =>
    gpu.buffers.upload(data.subarray(start * rowBytes, (start + size) * rowBytes), `${label}: blocks`);
  const shared = { name: label, outFeatures, inFeatures, rowBytes, rowMultiple: 2 };
  if (type === 'Q4_K') {
    return uploadWeight(gpu, { ...shared, layout: q4kLayout, upload: async ({ start, size }) => [rows(start, size)] });
  }
  const [bits, kernel]: [4 | 8, KernelSource] = type === 'Q4_0' ? [4, repackQ4_0()] : [8, repackQ8_0()];
  return uploadWeight(gpu, {
    ...shared,
    layout: affineLayout({ bits, groupSize: 32, scales: 'half' }),
    async upload({ start, size }) {
      const count = (size * inFeatures) / 32;
      const source = rows(start, size);
      const codes = gpu.buffers.create(count * 4 * bits, `${label}: codes`);
      const scales = gpu.buffers.create(4 * count, `${label}: scales`);
      try {
        const groups = linearWorkgroups(gpu, count, repackInvocations);
        await gpu.run([await gpu.prepare(kernel, { blocks: count }, [source, codes, scales], groups)]);
      } catch (error) {
        gpu.buffers.free(codes, scales);
        throw error;
      } finally {
        gpu.buffers.free(source);
      }
      return [codes, scales];
    },
  });
}
