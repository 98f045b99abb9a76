import { FormatError, lsbFirst, viewBytes } from '@q/core';

/** The form of most codecs: little-endian f32 values, then codes of `bits` bits, lowest bits first. */
export function writePayload(scales: Float32Array, codes: Uint8Array, bits: number): Uint8Array {
  const packed = lsbFirst(bits).pack(codes);
  const payload = new Uint8Array(4 * scales.length + packed.length);
  payload.set(new Uint8Array(scales.buffer, scales.byteOffset, scales.byteLength));
  payload.set(packed, 4 * scales.length);
  return payload;
}

/** @throws FormatError when the payload has another length, or a scale is not finite */
export function readPayload(
  payload: Uint8Array,
  scaleCount: number,
  codeCount: number,
  bits: number,
): { scales: Float32Array; codes: Uint8Array } {
  expectBytes(payload, 4 * scaleCount + Math.ceil((codeCount * bits) / 8));
  return {
    scales: readFloats(payload, scaleCount),
    codes: lsbFirst(bits).unpack(payload.subarray(4 * scaleCount), codeCount),
  };
}

/** @throws FormatError when a value is not finite */
export function readFloats(payload: Uint8Array, count: number, from = 0): Float32Array {
  const values = viewBytes('f32', payload.slice(from, from + 4 * count));
  const bad = values.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0)
    throw new FormatError(`a gradient message has the value ${values[bad]} at place ${bad}: expected finite ones`);
  return values;
}

export function writeFloats(values: Float32Array): Uint8Array {
  return writePayload(values, new Uint8Array(0), 8);
}

/** @throws FormatError naming both lengths */
export function expectBytes(payload: Uint8Array, expected: number): void {
  if (payload.length !== expected)
    throw new FormatError(
      `a gradient message of one tensor has ${payload.length} bytes, expected ${expected}: the workers disagree on its shape or on the compression`,
    );
}
