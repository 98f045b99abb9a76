import { bf16ToF32, decodeBf16, decodeF16, encodeBf16, encodeF16, f16ToF32, viewBytes } from '@q/core';
import { coreDtype, type FileDtype, fileDtypes } from '@q/safetensors';
import type { CastDtype } from './cast-config.js';

/** Values of a tensor that another dtype cannot represent. */
export interface LostValues {
  readonly count: number;
  /** The largest magnitude among them. */
  readonly largest: number;
}

/** The effect of a cast on some values. */
export interface CastCheck {
  /** Finite values that become infinite. */
  readonly over: LostValues;
  /** Values other than zero that become zero. */
  readonly under: LostValues;
  /** The largest finite magnitude among all values. */
  readonly largest: number;
  /** Index of the first NaN or infinity among the values, or -1. */
  readonly notFinite: number;
}

/** Largest error of rounding a value to a dtype, as a share of the value: half a unit in the last of 11, 8 or 24 bits. */
const roundingError: Readonly<Record<CastDtype, number>> = { f16: 2 ** -11, bf16: 2 ** -8, f32: 2 ** -24 };

/**
 * Whether values that become zero matter: they are larger than the error of rounding the largest value of their tensor. The
 * weights of MiniLM-L6 have 12 values below 3e-8 next to values of 1, which f16 makes zero, and rounds the others by 5e-4.
 * @param largest largest magnitude in the tensor
 */
export const isZeroingHarmful = (under: LostValues, largest: number, to: CastDtype): boolean =>
  under.largest > largest * roundingError[to];

/** Bytes of an element. */
export const elementBytes = (dtype: FileDtype): number => fileDtypes[dtype] / 8;

/** Whether every finite value of a dtype has a near value in the other, so none becomes infinite or zero. */
export function isWithinRange(from: FileDtype, to: CastDtype): boolean {
  if (from === 'F64') return false;
  return from === to.toUpperCase() || to === 'f32' || from === 'F16';
}

/**
 * Bytes of float values in another dtype. Values are rounded to the nearest, ties to even; f64 is rounded to f32 first,
 * as in PyTorch.
 * @param bytes an integer number of values of `from`, which is F16, BF16, F32 or F64
 */
export function castBytes(from: FileDtype, to: CastDtype, bytes: Uint8Array): Uint8Array {
  if (from === to.toUpperCase()) return bytes;
  const values = floatsOf(from, bytes);
  const cast = to === 'f32' ? values : to === 'f16' ? encodeF16(values) : encodeBf16(values);
  return new Uint8Array(cast.buffer, cast.byteOffset, cast.byteLength);
}

/** The effect of {@link castBytes} on the same bytes. */
export function checkCast(from: FileDtype, to: CastDtype, bytes: Uint8Array): CastCheck {
  const stored = from === 'F64' ? (viewBytes('f64', bytes) as Float64Array) : floatsOf(from, bytes);
  const values = from === 'F64' ? Float32Array.from(stored) : (stored as Float32Array);
  const patterns = to === 'f32' ? undefined : to === 'f16' ? encodeF16(values) : encodeBf16(values);
  const decode = to === 'f16' ? f16ToF32 : bf16ToF32;
  let notFinite = -1;
  let [over, overLargest, under, underLargest, largest] = [0, 0, 0, 0, 0];
  for (let i = 0; i < stored.length; i++) {
    const magnitude = Math.abs(stored[i]);
    if (!(magnitude < Number.POSITIVE_INFINITY)) {
      if (notFinite < 0) notFinite = i;
      continue;
    }
    largest = Math.max(largest, magnitude);
    const cast = Math.abs(patterns ? decode(patterns[i]) : values[i]);
    if (cast === Number.POSITIVE_INFINITY) {
      over++;
      overLargest = Math.max(overLargest, magnitude);
    } else if (cast === 0 && magnitude > 0) {
      under++;
      underLargest = Math.max(underLargest, magnitude);
    }
  }
  return {
    over: { count: over, largest: overLargest },
    under: { count: under, largest: underLargest },
    largest,
    notFinite,
  };
}

function floatsOf(from: FileDtype, bytes: Uint8Array): Float32Array {
  const dtype = coreDtype(from);
  if (dtype === 'f16') return decodeF16(viewBytes(dtype, bytes) as Uint16Array);
  if (dtype === 'bf16') return decodeBf16(viewBytes(dtype, bytes) as Uint16Array);
  if (dtype === 'f32') return viewBytes(dtype, bytes) as Float32Array;
  return Float32Array.from(viewBytes('f64', bytes) as Float64Array);
}
