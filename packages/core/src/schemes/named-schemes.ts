import type { Scheme } from '../contracts/scheme.js';
import { schemes } from './presets.js';

/** A scheme with a one-word name in the command and in recipes. */
export interface NamedScheme {
  /** Unique, lower case: `nf4`, `fp8-row`. */
  readonly name: string;
  /** One plain sentence for help and documentation. */
  readonly summary: string;
  readonly scheme: Scheme;
}

/** The schemes of this package that `--weights` can name. */
export const namedSchemes: readonly NamedScheme[] = [
  { name: 'fp16', summary: 'IEEE binary16, without a scale', scheme: schemes.fp16 },
  { name: 'bf16', summary: 'bfloat16, without a scale', scheme: schemes.bf16 },
  { name: 'int8', summary: 'one scale a row (W8A8)', scheme: schemes.int8 },
  { name: 'int8-tensor', summary: 'one scale for the weight', scheme: schemes.int8TensorWise },
  { name: 'int4', summary: 'groups of 128, symmetric', scheme: schemes.int4 },
  { name: 'fp8', summary: 'E4M3, one scale a row', scheme: schemes.fp8RowWise },
  { name: 'fp8-row', summary: 'E4M3, one scale a row', scheme: schemes.fp8RowWise },
  { name: 'fp8-tensor', summary: 'E4M3, one scale for the weight', scheme: schemes.fp8TensorWise },
  { name: 'fp8-block', summary: 'E4M3, one scale for 128 x 128 weights', scheme: schemes.fp8BlockWise },
  { name: 'fp8-e5m2', summary: 'E5M2, one scale for the weight', scheme: schemes.fp8E5m2 },
  { name: 'mxfp8', summary: 'OCP MX: E4M3 in blocks of 32 with a shared exponent', scheme: schemes.mxfp8 },
  { name: 'mxfp8-e5m2', summary: 'OCP MX: E5M2 in blocks of 32 with a shared exponent', scheme: schemes.mxfp8E5m2 },
  { name: 'mxfp6', summary: 'OCP MX: E2M3 in blocks of 32 with a shared exponent', scheme: schemes.mxfp6 },
  { name: 'mxfp6-e3m2', summary: 'OCP MX: E3M2 in blocks of 32 with a shared exponent', scheme: schemes.mxfp6E3m2 },
  { name: 'mxfp4', summary: 'OCP MX: E2M1 in blocks of 32 with a shared exponent', scheme: schemes.mxfp4 },
  { name: 'mxint8', summary: 'OCP MX: INT8 in blocks of 32 with a shared exponent', scheme: schemes.mxint8 },
  { name: 'nvfp4', summary: 'E2M1 in blocks of 16 with E4M3 scales and one f32', scheme: schemes.nvfp4 },
  { name: 'nf4', summary: 'NormalFloat in blocks of 64 (bitsandbytes)', scheme: schemes.nf4 },
  {
    name: 'nf4-double',
    summary: 'NormalFloat with double-quantized scales (QLoRA)',
    scheme: schemes.nf4DoubleQuantized,
  },
  { name: 'bnb-fp4', summary: "bitsandbytes' FP4 in blocks of 64", scheme: schemes.bnbFp4 },
  { name: 'binary', summary: '-1 and 1 times the mean magnitude of a row (XNOR-Net)', scheme: schemes.xnor },
  { name: 'binary01', summary: '0 and 1 times the least-squares scale of a row', scheme: schemes.binary01 },
  { name: 'ternary', summary: '-1, 0 and 1 times the mean magnitude of a row', scheme: schemes.ternary },
  { name: 'bitnet158', summary: '-1, 0 and 1 times the mean magnitude of the weight', scheme: schemes.bitnet158 },
];
