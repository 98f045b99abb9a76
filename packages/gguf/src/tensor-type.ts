import { type BlockFormat, SchemeError } from '@q/core';
import { q4_1, q5_1 } from './blocks/affine-block.js';
import { q2_K, q4_K, q5_K } from './blocks/affine-super-block.js';
import { bf16Block, f16Block, f32Block } from './blocks/float-blocks.js';
import { iq4_NL, iq4_XS } from './blocks/iq4.js';
import { mxfp4 } from './blocks/mxfp4.js';
import { q3_K } from './blocks/q3-k.js';
import { q6_K } from './blocks/q6-k.js';
import { q8_0 } from './blocks/q8-0.js';
import { q4_0, q5_0 } from './blocks/symmetric-block.js';
import { tq1_0, tq2_0 } from './blocks/ternary-blocks.js';

/** A type of tensor in a file (docs/reference/file-formats.md#types-of-gguf). */
export interface GgufTensorType {
  readonly name: string;
  /** ggml's number for it. */
  readonly id: number;
  /** Values of a block; a row holds whole blocks. */
  readonly values: number;
  /** Bytes of a block. */
  readonly bytes: number;
  /** Encodes and decodes; tensors of types without it are only copied. */
  readonly format?: BlockFormat;
  /** `general.file_type` of a file whose matrices have this type. */
  readonly fileType?: number;
}

const coded = (format: BlockFormat, id: number, fileType: number): GgufTensorType => ({
  ...{ name: format.name, id, values: format.values, bytes: format.bytes },
  ...{ format, fileType },
});
const carried = (name: string, id: number, values: number, bytes: number): GgufTensorType => ({
  ...{ name, id, values, bytes },
});

/** Every type in current files. K types have the file type of their `_S` mix, as in files of llama.cpp's `--pure`. */
export const ggufTensorTypes: readonly GgufTensorType[] = [
  coded(f32Block, 0, 0),
  coded(f16Block, 1, 1),
  coded(bf16Block, 30, 32),
  coded(q4_0, 2, 2),
  coded(q4_1, 3, 3),
  coded(q5_0, 6, 8),
  coded(q5_1, 7, 9),
  coded(q8_0, 8, 7),
  coded(q4_K, 12, 14),
  coded(q5_K, 13, 16),
  coded(q6_K, 14, 18),
  coded(q2_K, 10, 10),
  coded(q3_K, 11, 11),
  coded(iq4_NL, 20, 25),
  coded(iq4_XS, 23, 30),
  coded(tq1_0, 34, 36),
  coded(tq2_0, 35, 37),
  coded(mxfp4, 39, 38),
  carried('IQ2_XXS', 16, 256, 66),
  carried('IQ2_XS', 17, 256, 74),
  carried('IQ3_XXS', 18, 256, 98),
  carried('IQ1_S', 19, 256, 50),
  carried('IQ3_S', 21, 256, 110),
  carried('IQ2_S', 22, 256, 82),
  carried('I8', 24, 1, 1),
  carried('I16', 25, 1, 2),
  carried('I32', 26, 1, 4),
  carried('I64', 27, 1, 8),
  carried('F64', 28, 1, 8),
  carried('IQ1_M', 29, 256, 56),
  carried('NVFP4', 40, 64, 36),
  carried('Q1_0', 41, 128, 18),
  carried('Q2_0', 42, 64, 18),
];

const byId = new Map(ggufTensorTypes.map((type) => [type.id, type]));
const byFormat = new Map(ggufTensorTypes.map((type) => [type.format, type]));

export const ggufTensorTypeOf = (id: number): GgufTensorType | undefined => byId.get(id);

/**
 * The type for blocks of a format.
 * @throws SchemeError for a format that files do not support
 */
export function ggufTensorTypeFor(format: BlockFormat): GgufTensorType {
  const type = byFormat.get(format);
  if (!type) throw new SchemeError(`${format.name} is not a type of GGUF`);
  return type;
}
