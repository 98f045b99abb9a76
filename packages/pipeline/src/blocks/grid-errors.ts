import { type Kernels, minMax, type QuantizedTensor, quantize, type Tensor, tensor } from '@q/core';

/**
 * Whether each row has its own grids, in groups of consecutive columns, with scales that are stored without a second
 * quantization.
 */
export function ownGrids({ scheme, groupIndex, codebook, storedScales }: QuantizedTensor): boolean {
  const { kind } = scheme.granularity;
  return (kind === 'group' || kind === 'channel') && !groupIndex && !codebook && !storedScales?.parts;
}

/** Whether both ends of every grid are finite in f32. All values between them are finite then too. */
export function gridsFinite({ scheme, scales, zeroPoints }: QuantizedTensor): boolean {
  const { min, max } = scheme.format;
  let sum = 0;
  for (let i = 0; i < scales.length; i++) {
    const zero = zeroPoints?.[i] ?? 0;
    const ends = Math.fround((min - zero) * scales[i]) + Math.fround((max - zero) * scales[i]);
    sum += ends - ends;
  }
  return sum === 0;
}

export function rowsOf(
  { shape: [, columns], data }: Tensor<'f32'>,
  rows: readonly number[],
  out: Float32Array = new Float32Array(rows.length * columns),
): Tensor<'f32'> {
  for (const [i, row] of rows.entries()) out.set(data.subarray(row * columns, (row + 1) * columns), i * columns);
  return tensor('f32', [rows.length, columns], out);
}

export function quantizedRows(
  { scheme, shape, codes, scales, zeroPoints }: QuantizedTensor,
  rows: readonly number[],
  into?: Uint8Array,
): QuantizedTensor {
  const [height, columns] = shape;
  const groups = scales.length / height;
  const pick = <A extends Float32Array | Uint8Array | Uint16Array>(all: A, width: number, buffer?: A): A => {
    const out = buffer ?? (all.slice(0, rows.length * width) as A);
    for (const [i, row] of rows.entries()) out.set(all.subarray(row * width, (row + 1) * width), i * width);
    return out;
  };
  return {
    scheme,
    shape: [rows.length, columns],
    codes: into && codes instanceof Uint8Array ? pick(codes, columns, into) : pick(codes, columns),
    scales: pick(scales, groups),
    ...(zeroPoints ? { zeroPoints: pick(zeroPoints, groups) } : {}),
  };
}

/**
 * Relative errors of sampled rows of a weight that is quantized on integer grids of its own rows, and of the same rows
 * rounded to nearest. Undefined for other grids.
 */
export function errorsOnGrids(
  weight: Tensor<'f32'>,
  quantized: QuantizedTensor,
  sample: readonly number[],
  kernels: Kernels,
): readonly number[] | undefined {
  const { scheme, codes } = quantized;
  if (scheme.format.family !== 'linear' || !(codes instanceof Uint8Array)) return undefined;
  const [, columns] = weight.shape;
  const count = sample.length * columns;
  const { bytes, release } = kernels.stream.reserve(6 * count);
  const buffer = (part: number) => bytes.subarray(part * count, (part + 1) * count);
  try {
    const measured = rowsOf(weight, sample, new Float32Array(bytes.buffer, bytes.byteOffset, count));
    const own = quantizedRows(quantized, sample, buffer(4));
    const nearest = quantize(measured, scheme, { fit: minMax(), kernels, into: buffer(5) });
    return [own, nearest].map((version) => errorOnGrid(measured, version, kernels));
  } finally {
    release();
  }
}

function errorOnGrid(
  { shape: [rows, columns], data: values }: Tensor<'f32'>,
  { scheme: { granularity, format }, codes, scales, zeroPoints: zeros }: QuantizedTensor,
  { grids }: Kernels,
): number {
  const groupSize = granularity.kind === 'group' ? granularity.size : columns;
  const sums = new Float64Array(2 * scales.length);
  grids.errors({ values, rows, columns, groupSize, scales, zeros, min: format.min, codes: codes as Uint8Array, sums });
  let [error, norm] = [0, 0];
  for (let i = 0; i < sums.length; i += 2) {
    error += sums[i];
    norm += sums[i + 1];
  }
  return norm > 0 ? error / norm : 0;
}
