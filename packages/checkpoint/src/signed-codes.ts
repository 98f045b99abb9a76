/** Turns offset binary (code = value + 128), the form of schemes, into two's complement, the form of int8 files. */
export function toSigned(codes: ArrayLike<number>): Int8Array {
  const signed = new Int8Array(codes.length);
  for (let i = 0; i < codes.length; i++) signed[i] = codes[i] - 128;
  return signed;
}

/** Two's complement to offset binary. */
export function fromSigned(signed: Int8Array): Uint8Array {
  const codes = new Uint8Array(signed.length);
  for (let i = 0; i < signed.length; i++) codes[i] = signed[i] + 128;
  return codes;
}
