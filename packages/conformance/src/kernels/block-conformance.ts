/**
 * Checks of `Kernels.blocks`, as cases that throw. The expected bytes are those of the format's own encoder, which
 * tests compare with GGUF's reference.
 */
import { type BlockFormat, type BlockKernels, type BlockSource, createRandom, encodeBf16, encodeF16 } from '@q/core';

export interface BlockConformanceCase {
  readonly name: string;
  run(blocks: BlockKernels): void;
}

const random = createRandom('block conformance');

/** 256 values of every kind: usual values, and values that are difficult for searches. */
const kinds: readonly (() => (i: number) => number)[] = [
  () => () => random.normal(),
  () => () => random.normal() * 0.02,
  () => () => Math.abs(random.normal()),
  () => () => -Math.abs(random.normal()),
  () => () => 3 + random.normal(),
  () => () => (random.uniform() < 0.1 ? random.normal() : 0),
  () => () => Math.round(4 * random.normal()) / 4,
  () => () => random.normal() * 10 ** (random.integer(14) - 11),
  () => () => random.normal() * 1e-41,
  // Ties of the largest magnitude, of either sign.
  () => () => (random.uniform() < 0.5 ? 1 : -1),
  // All values but the last one are far below zero. The reference rounds steps of such values to the remaining bits of
  // an overflow.
  () => () => -(random.uniform() ** 40) - 1e-7,
  () => () => 0,
  () => () => -0,
  () => () => 0.75,
  () => {
    const each = Array.from({ length: 8 }, () => random.normal());
    return (i) => each[Math.floor(i / 32)];
  },
];

function values(superBlocks: number): Float32Array {
  const out = new Float32Array(superBlocks * 256);
  for (let block = 0; block < superBlocks; block++) {
    const value = kinds[block % kinds.length]();
    for (let i = 0; i < 256; i++) out[block * 256 + i] = value(i);
  }
  return out;
}

function sources(of: Float32Array): readonly BlockSource[] {
  return [
    { dtype: 'f32', data: of },
    { dtype: 'f16', data: encodeF16(of) },
    { dtype: 'bf16', data: encodeBf16(of) },
  ];
}

/** The bytes of the reference for a source. */
function expected(format: BlockFormat, { dtype, data }: BlockSource): Uint8Array {
  const floats = new Float32Array(data.length);
  const bits = new Uint32Array(floats.buffer);
  if (dtype === 'f32') floats.set(data);
  else if (dtype === 'bf16') for (let i = 0; i < data.length; i++) bits[i] = data[i] << 16;
  else
    for (const [i, pattern] of data.entries()) {
      const [exponent, fraction] = [(pattern >> 10) & 31, pattern & 1023];
      const magnitude = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
      floats[i] = pattern & 0x8000 ? -magnitude : magnitude;
    }
  const out = new Uint8Array((data.length / format.values) * format.bytes);
  if (!format.encode(floats, out)) throw new Error('the reference refuses');
  return out;
}

function compare(format: BlockFormat, source: BlockSource, found: Uint8Array, wanted: Uint8Array): void {
  for (let i = 0; i < wanted.length; i++) {
    if (found[i] === wanted[i]) continue;
    const [block, byte] = [Math.floor(i / format.bytes), i % format.bytes];
    throw new Error(
      `${format.name} of ${source.dtype}: byte ${byte} of block ${block} is ${found[i]}, ${wanted[i]} was expected`,
    );
  }
}

/** @param formats number formats whose block size divides 256 */
export const blockConformance = (formats: readonly BlockFormat[]): readonly BlockConformanceCase[] =>
  formats.flatMap((format) => [
    {
      name: `blocks.encode: ${format.name} of f32, f16 and bf16, the reference's bytes`,
      run(blocks) {
        const all = values(3 * kinds.length);
        // No block, one block, and a number of blocks that no tile divides.
        for (const count of [0, format.values, all.length]) {
          for (const source of sources(all.subarray(0, count))) {
            const wanted = expected(format, source);
            const out = new Uint8Array(wanted.length + 1).fill(0x5a);
            if (!blocks.encode({ format, source, out: out.subarray(0, -1) })) throw new Error('refused finite values');
            compare(format, source, out, wanted);
            if (out[wanted.length] !== 0x5a) throw new Error('wrote beyond the blocks');
          }
        }
      },
    },
    {
      name: `blocks.encode: ${format.name} tells values that are not finite, and scales beyond f16`,
      run(blocks) {
        const good = values(4);
        const out = new Uint8Array((good.length / format.values) * format.bytes);
        const refused = (source: BlockSource) => !blocks.encode({ format, source, out });
        for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e30]) {
          const changed = good.slice();
          changed[random.integer(changed.length)] = bad;
          for (const source of sources(changed))
            if (!refused(source)) throw new Error(`took ${bad} as ${source.dtype}`);
        }
        if (refused({ dtype: 'f32', data: good })) throw new Error('refused finite values after others');
      },
    },
  ]);

/** More values than kernels process at a time. Only for formats with fast kernels. */
export const longBlockConformance = (formats: readonly BlockFormat[]): readonly BlockConformanceCase[] =>
  formats.map((format) => ({
    name: `blocks.encode: ${format.name} of more values than one stretch takes`,
    run(blocks) {
      const stretch = values(64);
      const wanted = expected(format, { dtype: 'f32', data: stretch });
      const times = 2 ** 20 / stretch.length + 1;
      const data = new Float32Array(times * stretch.length);
      for (let k = 0; k < times; k++) data.set(stretch, k * stretch.length);
      const out = new Uint8Array(times * wanted.length);
      const source = { dtype: 'f32', data } as const;
      if (!blocks.encode({ format, source, out })) throw new Error('refused finite values');
      for (let k = 0; k < times; k++) compare(format, source, out.subarray(k * wanted.length), wanted);
    },
  }));
