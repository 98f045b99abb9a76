import { NumericError } from '@q/core';
import type { Gpu } from '../device/gpu.js';
import { float8Layout } from '../wgsl/layouts/float8.js';
import type { ScaleIndex } from '../wgsl/layouts/scale-source.js';
import { type GpuWeight, needLength, uploadWeight } from './gpu-weight.js';

/** Scales of an FP8 weight. All of them are multipliers. */
export type Float8Scales =
  | { readonly kind: 'tensor'; readonly values: Float32Array }
  /** `[out]` */
  | { readonly kind: 'channel'; readonly values: Float32Array }
  /** `[ceil(out / rows), ceil(in / columns)]`: DeepSeek's `weight_scale_inv`, 128 x 128. */
  | { readonly kind: 'block'; readonly rows: number; readonly columns: number; readonly values: Float32Array }
  /** MXFP8: `[out, ceil(in / 32)]` bytes of E8M0. */
  | { readonly kind: 'mx'; readonly bytes: Uint8Array };

export interface Float8Weight {
  readonly outFeatures: number;
  readonly inFeatures: number;
  readonly format: 'e4m3' | 'e5m2';
  /** `[out, in]` bytes. */
  readonly codes: Uint8Array;
  readonly scales: Float8Scales;
}

const isNaNCode = {
  e4m3: (byte: number) => (byte & 0x7f) === 0x7f,
  e5m2: (byte: number) => (byte & 0x7f) >= 0x7c,
};

/** @throws NumericError for codes that are NaN or infinite, because the kernels do not check them */
export async function float8Weight(gpu: Gpu, weight: Float8Weight): Promise<GpuWeight> {
  const { outFeatures, inFeatures, format, codes, scales } = weight;
  const label = `fp8 ${format} ${scales.kind}`;
  needLength(label, 'codes', codes, outFeatures * inFeatures);
  const bad = codes.findIndex(isNaNCode[format]);
  if (bad >= 0) throw new NumericError(`${label}: code 0x${codes[bad].toString(16)} at ${bad} is not a finite number`);
  const groups = scales.kind === 'block' ? Math.ceil(inFeatures / scales.columns) : Math.ceil(inFeatures / 32);
  const counts = {
    tensor: 1,
    channel: outFeatures,
    block: scales.kind === 'block' ? Math.ceil(outFeatures / scales.rows) * groups : 0,
    mx: outFeatures * groups,
  };
  needLength(label, 'scales', scales.kind === 'mx' ? scales.bytes : scales.values, counts[scales.kind]);
  if (scales.kind === 'mx' && scales.bytes.includes(255)) throw new NumericError(`${label}: a scale of 0xff is NaN`);
  const index: ScaleIndex = scales.kind === 'mx' ? { kind: 'group', size: 32 } : scales;
  return uploadWeight(gpu, {
    name: label,
    outFeatures,
    inFeatures,
    layout: float8Layout({ format, scales: scales.kind === 'mx' ? 'e8m0' : 'f32', index: plain(index) }),
    rowBytes: inFeatures,
    rowMultiple: scales.kind === 'block' ? scales.rows : 4,
    async upload({ start, size }) {
      return [
        gpu.buffers.upload(codes.subarray(start * inFeatures, (start + size) * inFeatures), `${label}: codes`),
        gpu.buffers.upload(scalesOf(scales, start, size, groups), `${label}: scales`),
      ];
    },
  });
}

const plain = (index: ScaleIndex): ScaleIndex =>
  index.kind === 'block' ? { kind: 'block', rows: index.rows, columns: index.columns } : index;

/** The scales of some rows. */
function scalesOf(scales: Float8Scales, start: number, size: number, groups: number): Float32Array | Uint8Array {
  switch (scales.kind) {
    case 'tensor':
      return scales.values;
    case 'channel':
      return scales.values.subarray(start, start + size);
    case 'block':
      return scales.values.subarray((start / scales.rows) * groups, Math.ceil((start + size) / scales.rows) * groups);
    case 'mx':
      return scales.bytes.subarray(start * groups, (start + size) * groups);
  }
}
