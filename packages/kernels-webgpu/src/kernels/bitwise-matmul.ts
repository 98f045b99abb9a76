import { type BitRows, ShapeError, type TernaryRows } from '@q/core';
import type { Gpu } from '../device/gpu.js';
import { type BitwiseKind, bitwiseInvocations, bitwiseProduct } from '../wgsl/bitwise-product.js';

/** Core's `matmulSigns` on the device: `[a.rows, b.rows]`. */
export const gpuMatmulSigns = (gpu: Gpu, a: BitRows, b: BitRows) => product(gpu, 'signs', a, b);

/** Core's `matmulBits` on the device. */
export const gpuMatmulBits = (gpu: Gpu, a: BitRows, b: BitRows) => product(gpu, 'bits', a, b);

/** Core's `matmulTernary` on the device. */
export const gpuMatmulTernary = (gpu: Gpu, a: TernaryRows, b: TernaryRows) =>
  product(gpu, 'ternary', interleaved(a), interleaved(b));

/** Rows as the kernel reads them. Ternary rows have two words for each word of {@link BitRows}. */
type Operand = Pick<BitRows, 'rows' | 'columns' | 'stride' | 'words'>;

function interleaved({ nonZero, negative }: TernaryRows): Operand {
  const words = new Uint32Array(2 * nonZero.words.length);
  for (let i = 0; i < nonZero.words.length; i++) {
    words[2 * i] = nonZero.words[i];
    words[2 * i + 1] = negative.words[i];
  }
  return { ...nonZero, words };
}

async function product(gpu: Gpu, kind: BitwiseKind, a: Operand, b: Operand): Promise<Int32Array> {
  if (a.columns !== b.columns)
    throw new ShapeError(`rows of ${a.columns} and of ${b.columns} bits cannot be multiplied`);
  const [m, n] = [a.rows, b.rows];
  const out = new Int32Array(m * n);
  if (out.length === 0) return out;
  const { buffers } = gpu;
  const storage = [
    buffers.upload(a.words, `${kind} a`),
    buffers.upload(b.words, `${kind} b`),
    buffers.create(out.byteLength, `${kind} c`),
  ];
  try {
    const groups = [Math.ceil(n / bitwiseInvocations.x), Math.ceil(m / bitwiseInvocations.y)] as const;
    const parameters = { m, n, k: a.columns, words: a.stride };
    await gpu.run([await gpu.prepare(bitwiseProduct(kind), parameters, storage, groups)]);
    return await gpu.read(storage[2], out);
  } finally {
    buffers.free(...storage);
  }
}
