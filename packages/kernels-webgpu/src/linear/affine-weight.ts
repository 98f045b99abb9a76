import { encodeF16, f16ToF32, ShapeError } from '@q/core';
import type { Gpu } from '../device/gpu.js';
import { affineLayout } from '../wgsl/layouts/affine.js';
import { type GpuWeight, needLength, uploadWeight } from './gpu-weight.js';

/**
 * Integers in groups, as in files of compressed-tensors `pack-quantized` and of ONNX's MatMulNBits: `w = (q - zero) *
 * scale`.
 */
export interface AffineWeight {
  readonly outFeatures: number;
  readonly inFeatures: number;
  readonly bits: 2 | 4 | 8;
  /** Consecutive inputs that share a scale: a multiple of 8. */
  readonly groupSize: number;
  /** `[out, in * bits / 8]` bytes, unsigned codes LSB-first along the inputs. */
  readonly codes: Uint8Array;
  /** `[out, ceil(in / groupSize)]` */
  readonly scales: Float32Array;
  /** `[out, ceil(in / groupSize)]`, or one zero point for all groups. */
  readonly zeros: Float32Array | number;
}

/** Scales and zeros are uploaded as f16 pairs if that is exact, else as f32 pairs: no value is rounded. */
export async function affineWeight(gpu: Gpu, weight: AffineWeight, name = 'affine'): Promise<GpuWeight> {
  const { outFeatures, inFeatures, bits, groupSize, codes, scales, zeros } = weight;
  const label = `${name} ${bits}-bit g${groupSize}`;
  checkGroups(label, groupSize);
  const groups = Math.ceil(inFeatures / groupSize);
  needLength(label, 'codes', codes, (outFeatures * inFeatures * bits) / 8);
  needLength(label, 'scales', scales, outFeatures * groups);
  if (typeof zeros !== 'number') needLength(label, 'zeros', zeros, outFeatures * groups);
  const zeroOf = typeof zeros === 'number' ? () => zeros : (i: number) => zeros[i];
  const half = isHalf(scales) && (typeof zeros === 'number' ? isHalf(Float32Array.of(zeros)) : isHalf(zeros));
  const rowBytes = (inFeatures * bits) / 8;
  // Rows of 2-bit codes may end within a word if their number of inputs is not a multiple of 16. Parts begin at words.
  return uploadWeight(gpu, {
    name: label,
    outFeatures,
    inFeatures,
    layout: affineLayout({ bits, groupSize, scales: half ? 'half' : 'float' }),
    rowBytes: Math.max(rowBytes, 8 * groups),
    rowMultiple: 2,
    async upload({ start, size }) {
      const values = new Float32Array(2 * size * groups);
      for (let i = 0, at = start * groups; i < size * groups; i++, at++) {
        values[2 * i] = scales[at];
        values[2 * i + 1] = zeroOf(at);
      }
      return [
        gpu.buffers.upload(codes.subarray(start * rowBytes, (start + size) * rowBytes), `${label}: codes`),
        gpu.buffers.upload(half ? encodeF16(values) : values, `${label}: scales`),
      ];
    },
  });
}

export function checkGroups(name: string, groupSize: number): void {
  if (!(groupSize >= 8 && groupSize % 8 === 0))
    throw new ShapeError(`${name}: groups of ${groupSize} do not fit: kernels take multiples of 8`);
}

const isHalf = (values: Float32Array) => encodeF16(values).every((bits, i) => f16ToF32(bits) === values[i]);
