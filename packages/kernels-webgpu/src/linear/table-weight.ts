import { e2m1, NumericError, ShapeError } from '@q/core';
import type { Gpu } from '../device/gpu.js';
import { tableLayout } from '../wgsl/layouts/table.js';
import { checkGroups } from './affine-weight.js';
import { type GpuWeight, needLength, uploadWeight } from './gpu-weight.js';

/**
 * bitsandbytes NF4 or FP4 (docs/reference/file-formats.md#nf4-and-fp4-of-bitsandbytes), with scales that are not
 * double-quantized.
 */
export interface BitsandbytesWeight {
  readonly outFeatures: number;
  readonly inFeatures: number;
  /** Number of consecutive values of the flattened weight that share a scale. */
  readonly blockSize: number;
  /** `[out * in / 2]` bytes, the first code in the high nibble. */
  readonly codes: Uint8Array;
  /** `[ceil(out * in / blockSize)]` */
  readonly absmax: Float32Array;
  /** `quant_map`: 16 values. */
  readonly table: Float32Array;
}

export async function bitsandbytesWeight(gpu: Gpu, weight: BitsandbytesWeight): Promise<GpuWeight> {
  const { outFeatures, inFeatures, blockSize, codes, absmax, table } = weight;
  const label = `bitsandbytes 4-bit b${blockSize}`;
  checkGroups(label, blockSize);
  needLength(label, 'the table', table, 16);
  needLength(label, 'codes', codes, (outFeatures * inFeatures) / 2);
  needLength(label, 'absmax', absmax, Math.ceil((outFeatures * inFeatures) / blockSize));
  return uploadWeight(gpu, {
    name: label,
    outFeatures,
    inFeatures,
    layout: tableLayout({ first: 'high', scales: 'f32', index: { kind: 'flat', size: blockSize } }),
    rowBytes: inFeatures / 2,
    // Blocks cross rows, so a part begins where a block begins.
    rowMultiple: inFeatures % blockSize === 0 ? 1 : blockSize,
    async upload({ start, size }) {
      const [first, last] = [start * inFeatures, (start + size) * inFeatures];
      const scales = absmax.subarray(first / blockSize, Math.ceil(last / blockSize));
      return [
        gpu.buffers.upload(codes.subarray(first / 2, last / 2), `${label}: codes`),
        gpu.buffers.upload(table, `${label}: table`),
        gpu.buffers.upload(scales, `${label}: scales`),
      ];
    },
  });
}

/** FP4 (E2M1) in groups along the inputs, the first code of a byte in the low nibble. */
export interface Float4Weight {
  readonly outFeatures: number;
  readonly inFeatures: number;
  /** `[out, in / 2]` */
  readonly codes: Uint8Array;
  /** `[out, in / 32]` bytes of E8M0 for MXFP4, `[out, in / 16]` bytes of E4M3 for NVFP4. */
  readonly scales: Uint8Array;
}

/** OCP MXFP4: groups of 32, scales are powers of two (docs/reference/file-formats.md#mx-blocks). */
export function mxfp4Weight(gpu: Gpu, weight: Float4Weight): Promise<GpuWeight> {
  if (weight.scales.includes(255)) throw new NumericError('mxfp4: a scale of 0xff is NaN');
  return float4Weight(gpu, weight, { label: 'mxfp4', groupSize: 32, storage: 'e8m0' });
}

/**
 * NVFP4: groups of 16 with E4M3 scales times the multiplier `global` (ModelOpt's `weight_scale_2`;
 * docs/reference/file-formats.md#nvfp4).
 */
export function nvfp4Weight(gpu: Gpu, weight: Float4Weight & { readonly global: number }): Promise<GpuWeight> {
  const bad = weight.scales.find((byte) => byte >= 0x7f);
  if (bad !== undefined) throw new NumericError(`nvfp4: a scale of 0x${bad.toString(16)} is NaN or negative`);
  const parameters = { global: weight.global };
  return float4Weight(gpu, weight, { label: 'nvfp4', groupSize: 16, storage: 'e4m3', parameters });
}

/** A kind of FP4: its groups, and the format of their scales. */
interface Float4Kind {
  readonly label: string;
  readonly groupSize: number;
  readonly storage: 'e8m0' | 'e4m3';
  /** Parameters of the kernel. Default: none. */
  readonly parameters?: Readonly<Record<string, number>>;
}

async function float4Weight(
  gpu: Gpu,
  { outFeatures, inFeatures, codes, scales }: Float4Weight,
  { label, groupSize, storage, parameters = {} }: Float4Kind,
): Promise<GpuWeight> {
  if (inFeatures % groupSize !== 0)
    throw new ShapeError(`${label}: ${inFeatures} inputs are not a multiple of its groups of ${groupSize}`);
  const groups = inFeatures / groupSize;
  needLength(label, 'codes', codes, (outFeatures * inFeatures) / 2);
  needLength(label, 'scales', scales, outFeatures * groups);
  const table = Float32Array.from({ length: 16 }, (_, code) => e2m1.decode(code));
  return uploadWeight(gpu, {
    name: label,
    outFeatures,
    inFeatures,
    layout: tableLayout({ first: 'low', scales: storage, index: { kind: 'group', size: groupSize } }),
    parameters,
    rowBytes: inFeatures / 2,
    rowMultiple: 4,
    async upload({ start, size }) {
      const rowBytes = inFeatures / 2;
      return [
        gpu.buffers.upload(codes.subarray(start * rowBytes, (start + size) * rowBytes), `${label}: codes`),
        gpu.buffers.upload(table, `${label}: table`),
        gpu.buffers.upload(scales.subarray(start * groups, (start + size) * groups), `${label}: scales`),
      ];
    },
  });
}
