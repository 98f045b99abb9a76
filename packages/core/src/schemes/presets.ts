import { SchemeError } from '../contracts/errors.js';
import type { Scheme } from '../contracts/scheme.js';
import { signedIntegers, unsignedIntegers } from '../formats/linear.js';
import { bf16, e2m1, e2m3, e3m2, e4m3, e5m2, fp16 } from '../formats/minifloat.js';
import { mxint8 } from '../formats/scaled-integer.js';
import { binary, binary01, bnbFp4, nf4, powerOfTwo, ternary } from '../formats/table.js';
import { doubleScale } from './double-quantized-scale.js';
import { perBlock, perChannel, perFlat, perGroup, perTensor, perToken } from './granularity.js';
import { f32Scale, unitScale } from './scale-storage.js';
import { scheme } from './scheme.js';
import { e8m0Scale } from './shared-exponent-scale.js';
import { e4m3Scale } from './two-level-scale.js';

export interface IntegerSchemeOptions {
  /** Columns that share a scale. Per channel when absent. */
  readonly groupSize?: number;
  /** `integer` (GPTQ, AWQ) or `float` (HQQ): unsigned codes with a zero point. Symmetric signed codes when absent. */
  readonly zeroPoint?: 'integer' | 'float';
}

/**
 * Integers of 2 to 8 bits for weights, f16 scales.
 * @throws SchemeError for other widths
 */
function integer(bits: number, options: IntegerSchemeOptions = {}): Scheme {
  const { groupSize, zeroPoint } = options;
  const format = (zeroPoint ? unsignedIntegers : signedIntegers)[bits - 2];
  if (!format) throw new SchemeError(`integers have 2 to 8 bits, got ${bits}`);
  return scheme({ format, granularity: groupSize === undefined ? perChannel : perGroup(groupSize), zeroPoint });
}

/** MX element of any format: blocks of 32 with a shared exponent (OCP MX v1.0). */
const mx = (format: Scheme['format']) => scheme({ format, granularity: perGroup(32), scaleStorage: e8m0Scale });

/** Named schemes, one for each row of the table of number formats. `quantize(weight, schemes.nvfp4)`. */
export const schemes = {
  /** IEEE binary16 and bfloat16 as casts, without a scale. */
  fp16: scheme({ format: fp16, granularity: perTensor, scaleStorage: unitScale }),
  bf16: scheme({ format: bf16, granularity: perTensor, scaleStorage: unitScale }),

  integer,
  /** LLM.int8() and W8A8: a scale a row. */
  int8: integer(8),
  /** SmoothQuant's O1 to O3: one scale for the weight. */
  int8TensorWise: scheme({ format: signedIntegers[6], granularity: perTensor, scaleStorage: f32Scale }),
  int4: integer(4, { groupSize: 128 }),

  /** FP8 as in the Llama 3 report: one scale a tensor, or one a row. */
  fp8TensorWise: scheme({ format: e4m3, granularity: perTensor, scaleStorage: f32Scale }),
  fp8RowWise: scheme({ format: e4m3, granularity: perChannel, scaleStorage: f32Scale }),
  /** DeepSeek's: tiles of 128 x 128. */
  fp8BlockWise: scheme({ format: e4m3, granularity: perBlock(128, 128), scaleStorage: f32Scale }),
  /** E5M2, with two bits of mantissa: for gradients. */
  fp8E5m2: scheme({ format: e5m2, granularity: perTensor, scaleStorage: f32Scale }),

  /** OCP MX: blocks of 32 with a shared exponent. */
  mxfp8: mx(e4m3),
  mxfp8E5m2: mx(e5m2),
  mxfp6: mx(e2m3),
  mxfp6E3m2: mx(e3m2),
  mxfp4: mx(e2m1),
  mxint8: mx(mxint8),
  /** E2M1 in blocks of 16 with E4M3 scales and one f32 a tensor. */
  nvfp4: scheme({ format: e2m1, granularity: perGroup(16), scaleStorage: e4m3Scale }),

  /** bitsandbytes: blocks of 64 of the flattened tensor. */
  nf4: scheme({ format: nf4, granularity: perFlat(64), scaleStorage: f32Scale }),
  /** QLoRA: the same with double-quantized scales, 4.127 bits per weight. */
  nf4DoubleQuantized: scheme({ format: nf4, granularity: perFlat(64), scaleStorage: doubleScale }),
  bnbFp4: scheme({ format: bnbFp4, granularity: perFlat(64), scaleStorage: f32Scale }),
  /** Signed powers of two and zero. */
  powerOfTwo: (bits: number) => scheme({ format: powerOfTwo(bits), granularity: perChannel }),

  /** XNOR-Net: signs and the mean magnitude of each row. */
  xnor: scheme({ format: binary, granularity: perChannel, scaleStorage: f32Scale }),
  /** {0, 1} times the least-squares scale of each row. */
  binary01: scheme({ format: binary01, granularity: perChannel, scaleStorage: f32Scale }),
  /** BitNet b1.58: {-1, 0, 1} times the mean magnitude of the tensor. */
  bitnet158: scheme({ format: ternary, granularity: perTensor, scaleStorage: f32Scale }),
  /** Ternary weights with a scale a row: BitNet's rule, or TWN's with `fit: ternaryThreshold()`. */
  ternary: scheme({ format: ternary, granularity: perChannel, scaleStorage: f32Scale }),

  /** Activations, scales computed on the tensor itself. */
  activations: {
    int8PerToken: scheme({ format: signedIntegers[6], granularity: perToken, scaleStorage: f32Scale, dynamic: true }),
    int8PerTensor: scheme({ format: signedIntegers[6], granularity: perTensor, scaleStorage: f32Scale, dynamic: true }),
    int4PerToken: scheme({ format: signedIntegers[2], granularity: perToken, scaleStorage: f32Scale, dynamic: true }),
    uint8PerToken: scheme({
      format: unsignedIntegers[6],
      granularity: perToken,
      zeroPoint: 'integer',
      scaleStorage: f32Scale,
      dynamic: true,
    }),
    fp8RowWise: scheme({ format: e4m3, granularity: perToken, scaleStorage: f32Scale, dynamic: true }),
    fp8TensorWise: scheme({ format: e4m3, granularity: perTensor, scaleStorage: f32Scale, dynamic: true }),
    /** Scales from calibration. */
    int8Static: scheme({ format: signedIntegers[6], granularity: perTensor, scaleStorage: f32Scale, dynamic: false }),
    uint8Static: scheme({
      format: unsignedIntegers[6],
      granularity: perTensor,
      zeroPoint: 'integer',
      scaleStorage: f32Scale,
      dynamic: false,
    }),
    fp8Static: scheme({ format: e4m3, granularity: perTensor, scaleStorage: f32Scale, dynamic: false }),
  },
} as const;
