/**
 * Checks of `Kernels.stream`, as cases that throw. Expected values and words come from the definitions of the formats,
 * code by code. Every check also runs with arrays in reserved memory.
 */
import { createRandom, type Reserve, type StreamKernels } from '@q/core';

export interface StreamConformanceCase {
  readonly name: string;
  run(stream: StreamKernels): void;
}

/** Allocates the arrays of a case: as separate arrays, or one after the other in reserved memory. */
type Place = <A>(make: new (buffer: ArrayBufferLike, byteOffset: number, length: number) => A, length: number) => A;

function inEachPlace(stream: StreamKernels, run: (place: Place) => void): void {
  run((make, length) => new make(new ArrayBuffer(8 * length), 0, length));
  const reserves: Reserve[] = [];
  const ahead = stream.reserve(100);
  ahead.bytes.fill(7);
  run((make, length) => {
    const reserve = stream.reserve(8 * length);
    reserves.push(reserve);
    const { buffer, byteOffset } = reserve.bytes;
    if (byteOffset % 64 !== 0) throw new Error(`reserved memory begins at byte ${byteOffset}`);
    return new make(buffer, byteOffset, length);
  });
  for (const reserve of reserves) reserve.release();
  if (!ahead.bytes.every((byte) => byte === 7)) throw new Error('what lies in reserved memory was overwritten');
  ahead.release();
}

/** The value of a pattern by its fields. */
function halfValue(pattern: number, exponentBits: number): number {
  const fractionBits = 15 - exponentBits;
  const sign = pattern >= 2 ** 15 ? -1 : 1;
  const exponent = Math.floor(pattern / 2 ** fractionBits) % 2 ** exponentBits;
  const fraction = (pattern % 2 ** fractionBits) / 2 ** fractionBits;
  const bias = 2 ** (exponentBits - 1) - 1;
  if (exponent === 2 ** exponentBits - 1) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** (1 - bias) : sign * (1 + fraction) * 2 ** (exponent - bias);
}

const random = createRandom('stream conformance');

export const streamConformance: readonly StreamConformanceCase[] = [
  ...([['f16', 5] as const, ['bf16', 8] as const] as const).map(([dtype, exponentBits]) => ({
    name: `stream.decodeHalf: every ${dtype} pattern, and tells those that are not finite`,
    run(stream: StreamKernels) {
      const value = Array.from({ length: 2 ** 16 }, (_, pattern) => halfValue(pattern, exponentBits));
      const all = Array.from(value.keys());
      const finite = all.filter((pattern) => Number.isFinite(value[pattern]));
      const odd = all.filter((pattern) => !Number.isFinite(value[pattern]));
      // An odd number of values, and more than one chunk of a thread.
      const many = Array.from({ length: 2 ** 20 + 2 ** 18 + 3 }, () => finite[random.integer(finite.length)]);
      for (const list of [[], finite.slice(0, 5), finite, many]) {
        inEachPlace(stream, (place) => {
          const patterns = place(Uint16Array, list.length);
          const values = place(Float32Array, list.length);
          patterns.set(list);
          if (!stream.decodeHalf({ dtype, patterns, values })) throw new Error('finite values');
          for (const [i, pattern] of list.entries())
            if (!Object.is(values[i], value[pattern]))
              throw new Error(`pattern ${pattern} gives ${values[i]}, ${value[pattern]} was expected`);
          for (let i = 0; i < Math.min(5, list.length); i++) {
            const at = random.integer(list.length);
            patterns[at] = odd[random.integer(odd.length)];
            if (stream.decodeHalf({ dtype, patterns, values })) throw new Error(`took pattern ${patterns[at]}`);
            patterns[at] = list[at];
          }
        });
      }
    },
  })),
  {
    name: 'stream.packTransposed: each row a stream of bits, words transposed',
    run(stream) {
      for (const bits of [1, 2, 3, 4, 5, 6, 7, 8]) {
        // Words that end after a row's last code, rows that do not fill a panel, more codes than one chunk.
        for (const [rows, columns] of [
          [1, 1],
          [3, 40],
          [16, 64],
          [37, 136],
          [5, 3],
          ...(bits === 3 || bits === 4 ? [[700, 2050]] : []),
        ]) {
          inEachPlace(stream, (place) => {
            const codes = place(Uint8Array, rows * columns);
            for (let i = 0; i < codes.length; i++) codes[i] = random.integer(2 ** bits);
            const height = Math.ceil((columns * bits) / 32);
            const words = place(Int32Array, height * rows).fill(-1);
            stream.packTransposed({ codes, rows, columns, bits, words });
            for (let i = 0; i < words.length; i++) {
              const [word, row] = [Math.floor(i / rows), i % rows];
              let expected = 0;
              for (let bit = 0; bit < 32; bit++) {
                const [column, within] = [Math.floor((32 * word + bit) / bits), (32 * word + bit) % bits];
                if (column < columns && (codes[row * columns + column] >> within) & 1) expected |= 1 << bit;
              }
              if (words[i] !== expected)
                throw new Error(`${bits} bits, word ${word} of row ${row}: ${words[i]}, ${expected} was expected`);
            }
          });
        }
      }
    },
  },
  {
    name: 'stream.reserve: stretches stay apart whatever is reserved and released',
    run(stream) {
      const held: { readonly reserve: Reserve; readonly mark: number }[] = [];
      for (let step = 0; step < 60; step++) {
        if (held.length > 0 && random.uniform() < 0.4) {
          const [{ reserve, mark }] = held.splice(random.integer(held.length), 1);
          if (!reserve.bytes.every((byte) => byte === mark)) throw new Error(`stretch ${mark} was overwritten`);
          reserve.release();
        } else {
          const reserve = stream.reserve(random.integer(300_000));
          reserve.bytes.fill(step);
          held.push({ reserve, mark: step });
        }
        const patterns = Uint16Array.of(0x3f80, 0x4000);
        const values = new Float32Array(2);
        stream.decodeHalf({ dtype: 'bf16', patterns, values });
        if (values[0] !== 1 || values[1] !== 2) throw new Error(`decoded ${values}`);
      }
      for (const { reserve, mark } of held) {
        if (!reserve.bytes.every((byte) => byte === mark)) throw new Error(`stretch ${mark} was overwritten`);
        reserve.release();
      }
    },
  },
];
