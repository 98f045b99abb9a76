/**
 * Decodes and packs weights that are read chunk by chunk. The results are exact, so they equal those of core's plain
 * functions.
 */
import type { DecodeHalfArgs, PackTransposedArgs, StreamKernels } from '@q/core';
import type { Pool } from './pool.js';

/** Values that are copied to the shared memory at a time, if they are not there already. */
const chunkValues = 2 ** 20;
/** Values that a thread takes at a time. */
const grainValues = 2 ** 14;
/** Rows that the kernel packs together. */
const panelRows = 16;

export function streamKernels(pool: Pool): StreamKernels {
  return {
    reserve: (bytes) => pool.reserve(bytes),
    decodeHalf: (args) => decodeHalf(pool, args),
    packTransposed: (args) => packTransposed(pool, args),
  };
}

function decodeHalf(pool: Pool, { dtype, patterns, values }: DecodeHalfArgs): boolean {
  const [from, to] = [pool.addressOf(patterns), pool.addressOf(values)];
  const step = from === undefined || to === undefined ? chunkValues : values.length;
  let finite = true;
  for (let begin = 0; begin < values.length; begin += step) {
    const count = Math.min(step, values.length - begin);
    pool.reset((from === undefined ? 2 * count : 0) + (to === undefined ? 4 * count : 0) + 65536);
    const odd = pool.bytes(4 * pool.threads).fill(0);
    const source = from === undefined ? pool.bytes(2 * count) : undefined;
    const target = to === undefined ? pool.f32(count) : undefined;
    if (source) new Uint16Array(source.buffer, source.byteOffset, count).set(patterns.subarray(begin, begin + count));
    const [read, write] = [
      source?.byteOffset ?? (from as number) + 2 * begin,
      target?.byteOffset ?? (to as number) + 4 * begin,
    ];
    pool.run('decodeHalves', [read, dtype === 'f16' ? 5 : 8, write, odd.byteOffset], count, grainValues);
    if (target) values.set(target, begin);
    finite &&= odd.every((x) => x === 0);
  }
  return finite;
}

function packTransposed(pool: Pool, { codes, rows, columns, bits, words }: PackTransposedArgs): void {
  const resident = pool.addressOf(codes);
  const height = Math.ceil((columns * bits) / 32);
  const fitting = Math.max(panelRows, Math.floor(chunkValues / columns / panelRows) * panelRows);
  const step = resident === undefined ? fitting : rows;
  for (let top = 0; top < rows; top += step) {
    const count = Math.min(step, rows - top);
    pool.reset((resident === undefined ? count * columns : 0) + 4 * count * height + 65536);
    const target = pool.bytes(4 * count * height);
    const source = resident === undefined ? pool.bytes(count * columns) : undefined;
    source?.set(codes.subarray(top * columns, (top + count) * columns));
    const address = source ? source.byteOffset : (resident as number) + top * columns;
    const panels = Math.ceil(count / panelRows);
    const grain = Math.max(1, Math.floor(grainValues / columns / panelRows));
    pool.run('packRowsOfWords', [address, count, columns, bits, target.byteOffset], panels, grain);
    const packed = new Int32Array(target.buffer, target.byteOffset, count * height);
    if (count === rows) words.set(packed);
    else for (let i = 0; i < height; i++) words.set(packed.subarray(i * count, (i + 1) * count), i * rows + top);
  }
}
