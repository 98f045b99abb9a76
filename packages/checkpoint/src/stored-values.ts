import {
  bf16Scale,
  decodeBf16,
  decodeF16,
  FormatError,
  f16Scale,
  f32Scale,
  type ScaleStorage,
  type Tensor,
} from '@q/core';
import type { TensorLookup } from './layout.js';

/** Decoders of scales. The dtype decides how scales are decoded, never the layout. */
interface FloatDecoder {
  readonly storage: ScaleStorage;
  decode(data: Tensor['data']): Float32Array;
}

const decoders: ReadonlyMap<string, FloatDecoder> = new Map<string, FloatDecoder>([
  ['f16', { storage: f16Scale, decode: (data) => decodeF16(data as Uint16Array) }],
  ['bf16', { storage: bf16Scale, decode: (data) => decodeBf16(data as Uint16Array) }],
  ['f32', { storage: f32Scale, decode: (data) => data as Float32Array }],
]);

/**
 * A tensor of scales as f32, decoded by its dtype in the file.
 * @param shapes that fit, the usual one first; any when absent
 * @throws FormatError naming the tensor: another dtype, another shape, or the first value that is not finite
 */
export async function readScales(
  tensors: TensorLookup,
  name: string,
  shapes?: readonly (readonly number[])[],
): Promise<{ readonly values: Float32Array; readonly storage: ScaleStorage; readonly shape: readonly number[] }> {
  const { dtype, shape, data } = await stored(tensors, name);
  const decoder = decoders.get(dtype);
  if (!decoder)
    throw new FormatError(
      `${name}: has dtype ${dtype}, which is none of scales: ${[...decoders.keys()].join(', ')} are`,
    );
  if (shapes && !shapes.some((each) => `${each}` === `${shape}`))
    throw new FormatError(
      `${name}: shape [${shape}] was found; ${shapes.map((each) => `[${each}]`).join(' or ')} was expected`,
    );
  const values = decoder.decode(data);
  const bad = values.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0)
    throw new FormatError(`${name}: element ${bad} is ${values[bad]}, and scales are finite: repair the file`);
  return { values, storage: decoder.storage, shape };
}

/**
 * Codes, packed codes or indices, which have one dtype each.
 * @throws FormatError naming the tensor, its dtype or shape, and what was expected
 */
export async function readIntegers<A extends Tensor['data']>(
  tensors: TensorLookup,
  name: string,
  expected: Tensor['dtype'],
  shape: readonly number[],
): Promise<A> {
  const found = await stored(tensors, name);
  if (found.dtype !== expected || `${found.shape}` !== `${shape}`)
    throw new FormatError(`${name}: ${found.dtype} [${found.shape}] was found; ${expected} [${shape}] was expected`);
  return found.data as A;
}

/**
 * The shape of a tensor that must exist and have this number of dimensions.
 * @throws FormatError naming it
 */
export function shapeOf(tensors: TensorLookup, name: string, dimensions: number): readonly number[] {
  if (!tensors.has(name)) throw new FormatError(`${name}: is absent, and its module needs it`);
  const shape = tensors.shape(name);
  if (shape.length !== dimensions)
    throw new FormatError(`${name}: has shape [${shape}]; ${dimensions} dimensions were expected`);
  return shape;
}

async function stored(tensors: TensorLookup, name: string): Promise<Tensor> {
  if (!tensors.has(name)) throw new FormatError(`${name}: is absent, and its module needs it`);
  return tensors.read(name);
}
