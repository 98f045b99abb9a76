import { type ElementType, elementTypes } from '../proto/element-type.js';

/** A tensor of a graph whose bytes are made when the file is written. */
export interface StoredTensor {
  readonly name: string;
  readonly type: ElementType;
  readonly dims: readonly number[];
}

/** Tensors whose bytes are made together: the codes, scales and zero points of one matrix. */
export interface Payload {
  readonly tensors: readonly StoredTensor[];
  /** Bytes of each tensor, little-endian, row-major. They must stay unchanged until the call after the next one. */
  make(): Promise<readonly Uint8Array[]>;
}

export const byteLength = ({ type, dims }: StoredTensor): number =>
  dims.reduce((product, size) => product * size, elementTypes[type].bytes);
