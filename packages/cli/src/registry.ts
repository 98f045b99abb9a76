/** All built-in parts that a command line or a recipe file can name. The only such list in the toolkit. */
import { awqMethod, awqStep } from '@q/awq';
import {
  awqLayoutDeclaration,
  bitsandbytesFp4LayoutDeclaration,
  bitsandbytesInt8LayoutDeclaration,
  bitsandbytesNf4LayoutDeclaration,
  compressedTensorsInt8LayoutDeclaration,
  compressedTensorsLayoutDeclaration,
  fbgemmFp8LayoutDeclaration,
  fp8LayoutDeclaration,
  gptqLayoutDeclaration,
  mxfp4LayoutDeclaration,
  plainLayoutDeclaration,
  type QuantizedLayout,
} from '@q/checkpoint';
import { type BlockFormat, builtinFormats, type Declaration, declaredFits, namedSchemes } from '@q/core';
import {
  bf16Block,
  f16Block,
  f32Block,
  type GgufMix,
  iq4_NL,
  iq4_NL_M,
  iq4_XS,
  iq4_XS_M,
  mxfp4,
  mxfp4Moe,
  q2_K,
  q2_K_M,
  q2_K_S,
  q3_K,
  q3_K_L,
  q3_K_M,
  q3_K_S,
  q4_0,
  q4_1,
  q4_K,
  q4_K_M,
  q4_K_S,
  q5_0,
  q5_1,
  q5_K,
  q5_K_M,
  q5_K_S,
  q6_K,
  q8_0,
  tq1_0,
  tq1_0_M,
  tq2_0,
  tq2_0_M,
} from '@q/gguf';
import { gptqMethod, gptqPaperMethod } from '@q/gptq';
import {
  errorFeedback,
  exact,
  fp8Blocks,
  type GradientCompressor,
  int8Blocks,
  oneBitMomentum,
  powerSgd,
  qsgd,
  scaledSign,
  stateless,
  ternGrad,
  topK,
} from '@q/gradients';
import { hqqMethod } from '@q/hqq';
import { llmInt8Method } from '@q/llm-int8';
import { architectures } from '@q/models';
import type { Vocabulary } from '@q/pipeline';
import { efficientQatMethod, gsqMethod, llmQatMethod, peqaMethod, qaftMethod, signRoundMethod } from '@q/qat';
import { rotateStep } from '@q/rotate';
import { rtnMethod } from '@q/rtn';
import { smoothquantMethod, smoothquantStep } from '@q/smoothquant';
import type { AdapterTuner } from './adapter-tuners/adapter-tuner.js';
import { loraTuner, qloraTuner } from './adapter-tuners/low-rank.js';
import { peqaTuner } from './adapter-tuners/task-scales.js';

export const builtin: Vocabulary = {
  methods: [
    gptqMethod,
    rtnMethod,
    awqMethod,
    hqqMethod,
    smoothquantMethod,
    llmInt8Method,
    qaftMethod,
    llmQatMethod,
    peqaMethod,
    signRoundMethod,
    gsqMethod,
    efficientQatMethod,
    gptqPaperMethod,
  ],
  layouts: [
    gptqLayoutDeclaration,
    awqLayoutDeclaration,
    compressedTensorsInt8LayoutDeclaration,
    bitsandbytesInt8LayoutDeclaration,
    compressedTensorsLayoutDeclaration,
    bitsandbytesNf4LayoutDeclaration,
    bitsandbytesFp4LayoutDeclaration,
    fp8LayoutDeclaration,
    fbgemmFp8LayoutDeclaration,
    mxfp4LayoutDeclaration,
    // It holds every scheme, and only this toolkit reads it: a layout that others read comes first if both hold a
    // scheme.
    plainLayoutDeclaration,
  ],
  fits: declaredFits,
  steps: [rotateStep, smoothquantStep, awqStep],
  formats: builtinFormats,
  schemes: namedSchemes,
  architectures,
  uses: [],
};

/** The methods of `q finetune`. */
export const adapterTuners: readonly Declaration<AdapterTuner>[] = [qloraTuner, loraTuner, peqaTuner];

/** Readers of every layout of a vocabulary, for opening folders. */
export function readersOf(vocabulary: Vocabulary): readonly QuantizedLayout[] {
  return vocabulary.layouts.map((layout) => layout.make({}, vocabulary));
}

/** Types of tensors for `q gguf` and `q convert --to gguf`. */
const ggufFormats: ReadonlyMap<string, BlockFormat> = new Map(
  Object.entries({
    ...{ q4_0, q4_1, q5_0, q5_1, q8_0 },
    ...{ q4_k: q4_K, q5_k: q5_K, q6_k: q6_K, mxfp4 },
    ...{ f16: f16Block, bf16: bf16Block, f32: f32Block },
  }),
);

/** Types of single tensors that mean a mix when they are given for a whole file. */
const ggufTensorFormats: Readonly<Record<string, BlockFormat>> = {
  ...{ q2_k: q2_K, q3_k: q3_K, iq4_nl: iq4_NL, iq4_xs: iq4_XS, tq1_0, tq2_0 },
};

/** Types of the output layer and the embeddings. */
export const ggufPartFormats: ReadonlyMap<string, BlockFormat> = new Map([
  ...ggufFormats,
  ...Object.entries(ggufTensorFormats),
]);

/** Mixes of them, for all matrices of a file. */
const ggufMixes: Readonly<Record<string, GgufMix>> = {
  ...{ q2_k: q2_K_M, q2_k_s: q2_K_S, q3_k_s: q3_K_S, q3_k_m: q3_K_M, q3_k_l: q3_K_L },
  ...{ q4_k_m: q4_K_M, q4_k_s: q4_K_S, q5_k_m: q5_K_M, q5_k_s: q5_K_S },
  ...{ iq4_nl: iq4_NL_M, iq4_xs: iq4_XS_M, tq1_0: tq1_0_M, tq2_0: tq2_0_M, mxfp4_moe: mxfp4Moe },
};

/** Values of `--type`: one format for every matrix, or a mix. */
export const ggufTypes: ReadonlyMap<string, BlockFormat | GgufMix> = new Map<string, BlockFormat | GgufMix>([
  ...ggufFormats,
  ...Object.entries(ggufMixes),
]);

/** Compressions of the gradients that workers of a training exchange. */
export const compressions: readonly { readonly name: string; make(): GradientCompressor }[] = [
  { name: 'none', make: exact },
  { name: 'int8', make: () => stateless(int8Blocks()) },
  { name: 'fp8', make: () => stateless(fp8Blocks()) },
  { name: 'qsgd', make: () => stateless(qsgd()) },
  { name: 'terngrad', make: () => stateless(ternGrad()) },
  { name: 'sign', make: () => errorFeedback(scaledSign()) },
  // 48 steps: 15 % of a training with the default epochs, windows and batch.
  { name: '1bit-adam', make: () => oneBitMomentum({ warmup: 48 }) },
  { name: 'topk', make: () => errorFeedback(topK()) },
  { name: 'powersgd', make: () => powerSgd() },
];
