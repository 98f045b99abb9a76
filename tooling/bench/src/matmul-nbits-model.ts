/**
 * The smallest ONNX model with one MatMulNBits of 4 bits (docs/reference/file-formats.md#matmulnbits). onnxruntime is
 * timed with it.
 */
export interface MatmulNBits {
  /** Number of inputs and outputs of the linear. */
  readonly k: number;
  readonly n: number;
  readonly blockSize: number;
  /** `[n, k / 2]` bytes, the first code in the low nibble. Zero points are 8, the default. */
  readonly codes: Uint8Array;
  /** `[n, k / blockSize]` */
  readonly scales: Float32Array;
  /** The lowest precision with which the product may compute: 4 is int8; absent: f32. */
  readonly accuracyLevel?: 4;
}

type Field = readonly [number: number, value: number | string | Uint8Array];

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 127) {
    bytes.push((rest % 128) | 128);
    rest = Math.floor(rest / 128);
  }
  return [...bytes, rest];
}

/** A protobuf message: numbers as varints, text and bytes with their length. */
function message(...fields: readonly Field[]): Uint8Array {
  const parts = fields.flatMap(([number, value]) => {
    if (typeof value === 'number') return [Uint8Array.from([...varint(number << 3), ...varint(value)])];
    const bytes = typeof value === 'string' ? new TextEncoder().encode(value) : value;
    return [Uint8Array.from([...varint((number << 3) | 2), ...varint(bytes.length)]), bytes];
  });
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

const [float, uint8] = [1, 2];
const tensor = (name: string, type: number, dims: readonly number[], bytes: Uint8Array) =>
  message(...dims.map((dim): Field => [1, dim]), [2, type], [8, name], [9, bytes]);
const integer = (name: string, value: number) => message([1, name], [3, value], [20, 2]);
const valueInfo = (name: string, width: number) => {
  const shape = message([1, message([2, 'tokens'])], [1, message([1, width])]);
  return message([1, name], [2, message([1, message([1, float], [2, shape])])]);
};

/** A model with the input `x` `[tokens, k]` and the output `y` `[tokens, n]`. */
export function matmulNBitsModel({ k, n, blockSize, codes, scales, accuracyLevel }: MatmulNBits): Uint8Array {
  const blocks = k / blockSize;
  const attributes = Object.entries({ K: k, N: n, bits: 4, block_size: blockSize, accuracy_level: accuracyLevel ?? 0 });
  const node = message(
    [1, 'x'],
    [1, 'codes'],
    [1, 'scales'],
    [2, 'y'],
    [4, 'MatMulNBits'],
    ...attributes.map(([name, value]): Field => [5, integer(name, value)]),
    [7, 'com.microsoft'],
  );
  const scaleBytes = new Uint8Array(scales.buffer, scales.byteOffset, scales.byteLength);
  const graph = message(
    [1, node],
    [2, 'linear'],
    [5, tensor('codes', uint8, [n, blocks, blockSize / 2], codes)],
    [5, tensor('scales', float, [n, blocks], scaleBytes)],
    [11, valueInfo('x', k)],
    [12, valueInfo('y', n)],
  );
  return message([1, 10], [7, graph], [8, message([1, ''], [2, 21])], [8, message([1, 'com.microsoft'], [2, 1])]);
}
