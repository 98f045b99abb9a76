import {
  f16Scale,
  f32Scale,
  perChannel,
  perGroup,
  type Scheme,
  scheme,
  signedIntegers,
  unsignedIntegers,
} from '@q/core';
import type { FloatType } from './graph/sequence.js';
import { blockMatrix, type WeightQuantizer } from './matrices/block-matrix.js';
import { floatMatrix } from './matrices/float-matrix.js';
import { integerMatrix } from './matrices/integer-matrix.js';
import type { MatrixForm } from './matrices/matrix.js';

/** Forms of the matrices of a model. */
export interface MatrixForms {
  /** Form of the blocks' linears. */
  readonly linears: MatrixForm;
  /** Form of the embedding table, and of the head if both are one matrix. */
  readonly embeddings: MatrixForm;
  readonly head: MatrixForm;
}

/** A kind of ONNX file, with its name in transformers.js (`dtype`). */
export interface OnnxType {
  readonly name: string;
  /** The suffix that transformers.js adds to the name of the file: `model_q4.onnx`. */
  readonly suffix: string;
  /** Type of the values inside of layers. */
  readonly type: FloatType;
  /** Scheme of linears without codes; absent if they stay floats. */
  readonly scheme?: Scheme;
  /** Products round their inputs to 8 bits, with one scale for all of a batch. */
  readonly roundsInputs?: true;
  /** @param quantizer makes the codes of matrices that have none */
  forms(quantizer: WeightQuantizer): MatrixForms;
}

const floats = (name: string, suffix: string, type: FloatType): OnnxType => ({
  ...{ name, suffix, type },
  forms: () => ({ linears: floatMatrix, embeddings: floatMatrix, head: floatMatrix }),
});

interface BlockSettings {
  readonly bits: number;
  readonly block: number;
  readonly type?: FloatType;
  readonly accuracyLevel?: 0 | 4;
}

function blocks(name: string, suffix: string, { bits, block, type = 'f32', accuracyLevel }: BlockSettings): OnnxType {
  const scaleStorage = type === 'f32' ? f32Scale : f16Scale;
  const granularity = perGroup(block);
  const asymmetric = scheme({ format: unsignedIntegers[bits - 2]!, granularity, scaleStorage, zeroPoint: 'integer' });
  const symmetric = scheme({ format: signedIntegers[bits - 2]!, granularity, scaleStorage });
  const linears = bits === 8 ? symmetric : asymmetric;
  // 8 bits for the embedding and the head, which every token uses; symmetric, so one matrix serves both.
  const ends = scheme({ format: signedIntegers[6]!, granularity: perGroup(32), scaleStorage });
  return {
    ...{ name, suffix, type, scheme: linears },
    forms: (quantizer) => {
      const end = blockMatrix({ quantizer, scheme: ends, accuracyLevel });
      return { linears: blockMatrix({ quantizer, scheme: linears, accuracyLevel }), embeddings: end, head: end };
    },
  };
}

const row = { granularity: perChannel, scaleStorage: f32Scale } as const;
/** For looked-up rows, which are also multiplied if they are the head: 8 bits, without a sign. */
const unsignedRows = scheme({ format: unsignedIntegers[6]!, zeroPoint: 'integer', ...row });

function integers(name: string, suffix: string, linears: Scheme, stored: 'u8' | 'i8'): OnnxType {
  return {
    ...{ name, suffix, type: 'f32', scheme: linears, roundsInputs: true },
    forms: (quantizer) => {
      const end = integerMatrix({ quantizer, scheme: unsignedRows, stored: 'u8' });
      return { linears: integerMatrix({ quantizer, scheme: linears, stored }), embeddings: end, head: end };
    },
  };
}

export const fp32: OnnxType = floats('fp32', '', 'f32');
export const fp16: OnnxType = floats('fp16', '_fp16', 'f16');
/** 8 bits in blocks of 32; onnxruntime may round the inputs of products to 8 bits too. */
export const q8: OnnxType = blocks('q8', '_quantized', { bits: 8, block: 32, accuracyLevel: 4 });
/** 4 bits with zero points in blocks of 32. */
export const q4: OnnxType = blocks('q4', '_q4', { bits: 4, block: 32 });
/** The same with values in f16 inside of layers. */
export const q4f16: OnnxType = blocks('q4f16', '_q4f16', { bits: 4, block: 32, type: 'f16' });
/** 2 bits with zero points in blocks of 16. */
export const q2: OnnxType = blocks('q2', '_q2', { bits: 2, block: 16 });
export const q2f16: OnnxType = blocks('q2f16', '_q2f16', { bits: 2, block: 16, type: 'f16' });

/**
 * 8 bits without a sign and a scale a row; inputs are rounded to 8 bits at run time: exact sums on every processor.
 * Codes with calibrated inputs (SmoothQuant) keep their scales.
 */
export const uint8: OnnxType = integers('uint8', '_uint8', unsignedRows, 'u8');
/** The same with a sign, in 7 bits: the fastest on older processors without saturation. */
export const int8: OnnxType = integers('int8', '_int8', scheme({ format: signedIntegers[5]!, ...row }), 'i8');

/** Every type, by name. */
export const onnxTypes: readonly OnnxType[] = [fp32, fp16, q8, q4, q4f16, q2, q2f16, uint8, int8];
