/** The low two bits of 256 codes: in each half, four codes 32 apart share a byte. */
export function putTwoBits(codes: Uint8Array, to: Uint8Array, at: number): void {
  for (let half = 0; half < 2; half++)
    for (let l = 0; l < 32; l++) {
      let byte = 0;
      for (let k = 0; k < 4; k++) byte |= (codes[128 * half + 32 * k + l] & 3) << (2 * k);
      to[at + 32 * half + l] = byte;
    }
}

export const getTwoBits = (from: Uint8Array, at: number, i: number): number =>
  (from[at + 32 * (i >> 7) + (i & 31)] >> (2 * ((i >> 5) & 3))) & 3;
