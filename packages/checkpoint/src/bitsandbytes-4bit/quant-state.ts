import { FormatError } from '@q/core';

/** The JSON that bitsandbytes stores as bytes for each 4-bit weight (`QuantState.as_dict`); it allows no other keys. */
export interface QuantState {
  readonly quant_type: string;
  readonly blocksize: number;
  /** The dtype of the dequantized weight. */
  readonly dtype: string;
  /** Shape of the weight, `[out, in]`. */
  readonly shape: readonly [number, number];
  /**
   * Double quantization only: number of scales that share a second-level scale, and the mean that was subtracted from
   * all of them.
   */
  readonly nested_blocksize?: number;
  readonly nested_dtype?: string;
  readonly nested_offset?: number;
}

/** Text of a state as bytes. */
const encodeQuantState = (state: QuantState): Uint8Array => new TextEncoder().encode(JSON.stringify(state));

/**
 * Bytes of a state, with the same length for any offset: files are planned before the offset is known, so the text is
 * padded with spaces, which JSON allows.
 */
export function paddedQuantState(state: QuantState): Uint8Array {
  const { nested_offset: offset } = state;
  const text = encodeQuantState(state);
  return offset === undefined ? text : padded(text, quantStateBytes(state));
}

/** The longest JSON text of a finite f32 number, the form of an offset: `-0.0000012345678901234567`. */
const longestNumber = 25;

/** Bytes of {@link paddedQuantState}. */
export function quantStateBytes(state: QuantState): number {
  const { nested_offset: offset } = state;
  return offset === undefined
    ? encodeQuantState(state).length
    : encodeQuantState({ ...state, nested_offset: 0 }).length - 1 + longestNumber;
}

function padded(text: Uint8Array, length: number): Uint8Array {
  const out = new Uint8Array(length).fill(0x20);
  out.set(text);
  return out;
}

/**
 * @param name of the tensor, for messages
 * @throws FormatError for bytes that are not such a JSON object
 */
export function decodeQuantState(name: string, bytes: Uint8Array): QuantState {
  const text = new TextDecoder().decode(bytes);
  let state: Partial<QuantState> | null;
  try {
    state = JSON.parse(text);
  } catch {
    throw new FormatError(`${name}: JSON was expected, found ${JSON.stringify(text.slice(0, 60))}`);
  }
  const count = (value: unknown) => Number.isSafeInteger(value) && (value as number) > 0;
  const { blocksize, shape, nested_blocksize: nested = 1, nested_offset: offset = 0 } = state ?? {};
  if (!count(blocksize) || !Array.isArray(shape) || shape.length !== 2 || !shape.every(count))
    throw new FormatError(
      `${name}: blocksize ${JSON.stringify(blocksize)} and shape ${JSON.stringify(shape)} were found; a positive number and [out, in] were expected`,
    );
  if (!count(nested) || !Number.isFinite(offset))
    throw new FormatError(
      `${name}: nested_blocksize ${JSON.stringify(nested)} and nested_offset ${JSON.stringify(offset)} were found; a positive and a finite number were expected`,
    );
  return state as QuantState;
}
