import { type NibbleKernel, nibbleKernel } from './nibble-kernel.js';
import { definePacking, type Packing } from './packing.js';

type Nibbles = {
  readonly name: string;
  /**
   * The code of each nibble, the low nibble of a byte first, for one period of the pattern: 2, 4, 8, 16 or 32 codes.
   */
  readonly order: readonly number[];
  /** The number of codes is a multiple of this; with 1 an odd last code is followed by a nibble of zeros. */
  readonly multiple: number;
};

/** Below this number of codes a JavaScript loop is faster than a call of the module. */
const fewCodes = 256;

/**
 * Codes of 4 bits in any order with a period of at most 32: a plain loop defines it, and vectors pack whole groups
 * of 32.
 */
export function nibblePacking({ name, order, multiple }: Nibbles): Packing {
  const period = order.length;
  let kernel: NibbleKernel | undefined | null = null;
  /** Number of codes that the vectors pack. */
  const take = (count: number) => {
    if (count < fewCodes) return 0;
    if (kernel === null)
      kernel = nibbleKernel(Array.from({ length: 32 }, (_, n) => order[n % period] + n - (n % period)));
    return kernel ? count - (count % 32) : 0;
  };
  return definePacking({
    name,
    bits: 4,
    multiple,
    bytes: (count) => Math.ceil(count / 2),
    pack(codes, out) {
      const taken = take(codes.length);
      if (taken > 0) kernel?.pack(codes.subarray(0, taken), out);
      for (let byte = taken / 2; byte < out.length; byte++) {
        const nibble = (2 * byte) % period;
        const first = 2 * byte - nibble;
        out[byte] = codes[first + order[nibble]] | (codes[first + order[nibble + 1]] << 4);
      }
    },
    unpack(bytes, out) {
      const taken = take(out.length);
      if (taken > 0) kernel?.unpack(bytes.subarray(0, taken / 2), out);
      for (let byte = taken / 2; 2 * byte < out.length; byte++) {
        const nibble = (2 * byte) % period;
        const first = 2 * byte - nibble;
        out[first + order[nibble]] = bytes[byte] & 15;
        out[first + order[nibble + 1]] = bytes[byte] >>> 4;
      }
    },
  });
}
