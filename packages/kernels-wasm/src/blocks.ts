/**
 * Encodes blocks of GGUF. The kernels do the same f32 operations in the same order as the encoders of `@q/gguf` and
 * fuse none, so the bytes are the same at any number of threads and any level of SIMD.
 */
import { type BlockKernels, type EncodeBlocksArgs, plainBlocks } from '@q/core';
import type { Pool, PoolFunction } from './pool.js';

/** Kernel functions by `BlockFormat.kernel`. */
const functions: ReadonlyMap<string | undefined, PoolFunction> = new Map([
  ['Q4_0', 'encodeQ4_0'],
  ['Q8_0', 'encodeQ8_0'],
  ['Q4_K', 'encodeQ4_K'],
  ['Q5_K', 'encodeQ5_K'],
  ['Q6_K', 'encodeQ6_K'],
]);
/** The assembly's numbers for the source types: the bits of the exponent tell f16 and bf16 apart. */
const kinds = { f32: 0, f16: 5, bf16: 8 } as const;
/** Values that are copied to the shared memory at a time, if they are not there already. */
const chunkValues = 2 ** 19;
/** Values that a thread takes at a time. */
const grainValues = 2 ** 13;
/** Bytes of `blockBuffer` of the assembly. */
const scratchBytes = 8192;

/** The reference encodes formats without a kernel of their own, and every block that is weighted by importance. */
export const blockKernels = (pool: Pool): BlockKernels => ({
  encode: (args) =>
    functions.has(args.format.kernel) && !args.importance ? encode(pool, args) : plainBlocks.encode(args),
});

function encode(pool: Pool, { format, source, out }: EncodeBlocksArgs): boolean {
  const name = functions.get(format.kernel) as PoolFunction;
  const { data } = source;
  const blocks = data.length / format.values;
  const width = data.BYTES_PER_ELEMENT * format.values;
  const [from, to] = [pool.addressOf(data), pool.addressOf(out)];
  const step = from === undefined || to === undefined ? Math.floor(chunkValues / format.values) : blocks;
  let finite = true;
  for (let begin = 0; begin < blocks; begin += step) {
    const count = Math.min(step, blocks - begin);
    const copied = (from === undefined ? width : 0) + (to === undefined ? format.bytes : 0);
    pool.reset(count * copied + pool.threads * scratchBytes + 65536);
    const odd = pool.bytes(4 * pool.threads).fill(0);
    const scratch = pool.bytes(pool.threads * scratchBytes);
    const copy = from === undefined ? pool.bytes(count * width) : undefined;
    copy?.set(new Uint8Array(data.buffer, data.byteOffset + begin * width, count * width));
    const target = to === undefined ? pool.bytes(count * format.bytes) : undefined;
    const read = copy?.byteOffset ?? (from as number) + begin * width;
    const write = target?.byteOffset ?? (to as number) + begin * format.bytes;
    const args = [read, kinds[source.dtype], scratch.byteOffset, odd.byteOffset, write];
    pool.run(name, args, count, grainValues / format.values);
    if (target) out.set(target, begin * format.bytes);
    finite &&= odd.every((byte) => byte === 0);
  }
  return finite;
}
