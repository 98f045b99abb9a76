import { ShapeError } from '../contracts/errors.js';

/**
 * The order of codes in the bytes of a file. Both directions write to `out` if it is given. Words are little-endian,
 * like all machines that run JavaScript.
 */
export interface Packing {
  /** Unique: `lsb4`, `high-nibble-first`. */
  readonly name: string;
  /** Bits of a code. */
  readonly bits: number;
  /** The number of codes is a multiple of this; 1 when any number is allowed. */
  readonly multiple: number;
  /** Bytes of `count` codes. */
  bytes(count: number): number;
  /**
   * @param codes below `2^bits`; higher bits must be zero
   * @throws ShapeError when the number of codes or the length of `out` does not fit
   */
  pack(codes: Uint8Array, out?: Uint8Array): Uint8Array;
  /** @throws ShapeError when there are too few bytes */
  unpack(bytes: Uint8Array, count: number, out?: Uint8Array): Uint8Array;
}

type Loops = Pick<Packing, 'name' | 'bits'> & {
  readonly multiple?: number;
  readonly bytes: (count: number) => number;
  /** Writes to `out`, which has the right length. */
  readonly pack: (codes: Uint8Array, out: Uint8Array) => void;
  readonly unpack: (bytes: Uint8Array, out: Uint8Array) => void;
};

/** Makes a packing from its two loops, and adds the checks that all packings share. */
export function definePacking({ name, bits, multiple = 1, bytes, pack, unpack }: Loops): Packing {
  const check = (count: number) => {
    if (count % multiple !== 0) throw new ShapeError(`${name} packs codes in multiples of ${multiple}, got ${count}`);
  };
  return {
    name,
    bits,
    multiple,
    bytes,
    pack(codes, out = new Uint8Array(bytes(codes.length))) {
      check(codes.length);
      if (out.length !== bytes(codes.length)) {
        throw new ShapeError(`${name}: ${codes.length} codes take ${bytes(codes.length)} bytes, out has ${out.length}`);
      }
      pack(codes, out);
      return out;
    },
    unpack(packed, count, out = new Uint8Array(count)) {
      check(count);
      if (packed.length < bytes(count)) {
        throw new ShapeError(`${name}: ${count} codes take ${bytes(count)} bytes, got ${packed.length}`);
      }
      if (out.length !== count) throw new ShapeError(`${name}: ${count} codes do not fit an out of ${out.length}`);
      unpack(packed, out);
      return out;
    },
  };
}

/** The bytes as whole 32-bit words; undefined when they are not aligned. */
export function wordsOf(bytes: Uint8Array): Int32Array | undefined {
  if (bytes.byteOffset % 4 !== 0) return undefined;
  return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
}
