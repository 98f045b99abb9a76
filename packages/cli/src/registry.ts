/** Names of everything that a command line or a recipe file can ask for. The only registry of names in the toolkit. */
import { type AwqOptions, awq } from '@q/awq';
import {
  awqLayout,
  bitsandbytesInt8Layout,
  compressedTensorsInt8Layout,
  gptqLayout,
  plainLayout,
  type QuantizedLayout,
} from '@q/checkpoint';
import {
  type ActivationScheme,
  absMax,
  type BlockFormat,
  f32Scale,
  halfQuadratic,
  type ModelStep,
  minMax,
  mseSearch,
  percentile,
  perToken,
  type Quantizer,
  type Rewrite,
  type ScaleFit,
  type Scheme,
  scheme,
  schemes,
  signedIntegers,
  type Tuner,
  weightedSearch,
} from '@q/core';
import {
  bf16Block,
  f16Block,
  type GgufMix,
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
} from '@q/gguf';
import { type GptqOptions, gptq, paperOptions } from '@q/gptq';
import { hqq } from '@q/hqq';
import { llmInt8, llmInt8Input, llmInt8Weight } from '@q/llm-int8';
import { efficientQat, llmQat, peqa, qaft, signRound } from '@q/qat';
import { rotate } from '@q/rotate';
import { type RtnOptions, rtn } from '@q/rtn';
import { type Level, o1, o2, o3, perChannelPerToken, smoothquant } from '@q/smoothquant';
import type { FineTuning } from './fine-tuning/fine-tuning.js';
import { lowRankTuning } from './fine-tuning/low-rank.js';
import { taskScales } from './fine-tuning/task-scales.js';

/** Options that methods share; each takes what it knows. */
export interface MethodOptions {
  readonly actOrder?: boolean;
  readonly staticGroups?: boolean;
  readonly damping?: number;
  readonly blockSize?: number;
  readonly fit?: ScaleFit;
  readonly importance?: GptqOptions['importance'];
  readonly retarget?: number;
  readonly residual?: boolean;
  readonly refineRounds?: number;
  readonly objective?: AwqOptions['objective'];
  readonly clip?: boolean;
  readonly alpha?: number | 'search';
  readonly level?: Level;
  readonly threshold?: number;
  readonly loss?: 'teacher' | 'labels';
  readonly epochs?: number;
  readonly steps?: number;
  readonly batch?: number;
  readonly rate?: number;
  readonly heldOut?: number;
  readonly checkpointing?: boolean;
  readonly memory?: number;
  /** Bits of the linears' inputs and of the cache while training. */
  readonly inputBits?: number;
  readonly cacheBits?: number;
}

export interface Method {
  readonly options: readonly (keyof MethodOptions)[];
  make(options: MethodOptions): Quantizer;
  /** What changes the model before its weights are quantized. */
  steps?(options: MethodOptions): readonly ModelStep[];
  /** Zero points are real numbers where the layout can hold them ({@link floatZeroPointLayouts}), else rounded to whole ones. */
  readonly floatZeroPoints?: boolean;
  /** The method's own schemes, when bits and groups are not to be chosen: weights, and inputs that run on integers. */
  schemes?(options: MethodOptions): { readonly scheme: Scheme; readonly activation: ActivationScheme };
  /** The layout that holds its result, when nothing is said; `gptq` when absent. */
  readonly layout?: string;
  /** Methods that train: what goes on from where the quantizer's result is. */
  tuner?(options: MethodOptions): Tuner;
  /** The model writes the text itself when none is given. */
  readonly writesText?: true;
}

const sweep = ['actOrder', 'staticGroups', 'damping', 'blockSize', 'fit'] as const;

export const levels: Readonly<Record<string, Level>> = { o1, o2, o3, 'per-channel': perChannelPerToken };
const gptqOptions = [...sweep, 'importance', 'retarget', 'residual', 'refineRounds'] as const;
/** Symmetric integers with one dynamic scale a token; 16 bits and none given mean unquantized. */
const perTokenBits = (bits = 16): Scheme | undefined =>
  bits < 16
    ? scheme({ format: signedIntegers[bits - 2], granularity: perToken, scaleStorage: f32Scale, dynamic: true })
    : undefined;
const training = ['epochs', 'batch', 'heldOut', 'checkpointing', 'memory'] as const;

export const methods: Readonly<Record<string, Method>> = {
  rtn: {
    options: ['fit', 'importance'],
    make: ({ importance, ...options }) => rtn({ ...options, importance: importance as RtnOptions['importance'] }),
  },
  gptq: { options: gptqOptions, make: gptq },
  awq: {
    options: ['fit', 'objective', 'clip'],
    make: ({ fit = minMax() }) => rtn({ fit }),
    steps: (options) => [awq(options)],
  },
  qaft: {
    options: [...gptqOptions, ...training, 'loss', 'rate'],
    make: gptq,
    tuner: ({ rate, ...options }) => qaft({ ...options, ...(rate === undefined ? {} : { rates: { weight: rate } }) }),
  },
  'llm-qat': {
    options: [...gptqOptions, ...training, 'rate', 'inputBits', 'cacheBits'],
    make: gptq,
    tuner: ({ inputBits, cacheBits, ...options }) =>
      llmQat({ ...options, activations: perTokenBits(inputBits), cache: perTokenBits(cacheBits) }),
    writesText: true,
  },
  peqa: { options: [...gptqOptions, ...training, 'loss', 'rate'], make: gptq, tuner: peqa },
  signround: {
    options: [...gptqOptions, 'steps', 'batch', 'rate'],
    make: gptq,
    tuner: signRound,
  },
  'efficient-qat': {
    options: ['fit', 'epochs', 'batch', 'memory'],
    make: ({ fit = weightedSearch() }) => rtn({ fit }),
    tuner: ({ epochs, ...options }) => efficientQat({ ...options, blockEpochs: epochs }),
  },
  hqq: { options: [], make: () => hqq(), floatZeroPoints: true },
  'gptq-paper': { options: sweep, make: (options) => gptq({ ...paperOptions, ...options }) },
  smoothquant: {
    options: ['alpha', 'level'],
    make: () => rtn({ fit: absMax({ range: 'narrow' }) }),
    steps: ({ alpha, level = perChannelPerToken }) => [smoothquant({ alpha, level })],
    schemes: ({ level: { weight, activation } = perChannelPerToken }) => ({ scheme: weight, activation }),
    layout: 'compressed-tensors-int8',
  },
  'llm-int8': {
    options: ['threshold'],
    make: llmInt8,
    schemes: ({ threshold }) => ({ scheme: llmInt8Weight, activation: llmInt8Input(threshold) }),
    layout: 'bitsandbytes-int8',
  },
};

/** Options that fine-tunings share; each takes what it knows. */
export interface FineTunerOptions {
  readonly rank?: number;
  readonly alpha?: number;
  readonly dropout?: number;
  readonly epochs?: number;
  readonly batch?: number;
  readonly rate?: number;
  readonly heldOut?: number;
  readonly checkpointing?: boolean;
  readonly memory?: number;
}

export interface FineTuner {
  readonly options: readonly (keyof FineTunerOptions)[];
  make(options: FineTunerOptions): FineTuning;
}

const fineTuning = ['epochs', 'batch', 'rate', 'heldOut', 'checkpointing', 'memory'] as const;
const factors = [...fineTuning, 'rank', 'alpha', 'dropout'] as const;

/** What `q finetune` can do. */
export const fineTuners: Readonly<Record<string, FineTuner>> = {
  qlora: { options: factors, make: (options) => lowRankTuning(schemes.nf4DoubleQuantized, options) },
  lora: { options: factors, make: (options) => lowRankTuning('none', options) },
  peqa: { options: fineTuning, make: (options) => taskScales({ loss: 'labels', ...options }) },
};

/** What changes the whole model before anything else does, by the option that asks for it. */
export const rewrites: Readonly<Record<'rotate', () => Rewrite>> = { rotate };

/** What a recipe's `transforms` may name: steps before any method that change weights and not the function. */
export const transforms: Readonly<Record<string, () => ModelStep>> = {
  rotate,
  smoothquant,
  // The method behind it fits grids of its own, which clamped weights would not suit.
  awq: () => awq({ clip: false }),
};

export const fits: Readonly<Record<string, () => ScaleFit>> = {
  minMax,
  absMax,
  narrow: () => absMax({ range: 'narrow' }),
  fullRange: () => absMax({ range: 'full' }),
  percentile,
  mseSearch,
  weightedSearch,
  halfQuadratic,
};

export const layouts: Readonly<Record<string, (options: { version?: 1 | 2 | 'auto' }) => QuantizedLayout>> = {
  gptq: gptqLayout,
  awq: awqLayout,
  plain: plainLayout,
  'compressed-tensors-int8': compressedTensorsInt8Layout,
  'bitsandbytes-int8': bitsandbytesInt8Layout,
};

/** What `q gguf` makes of tensors. */
export const ggufFormats: Readonly<Record<string, BlockFormat>> = {
  ...{ q4_0, q4_1, q5_0, q5_1, q8_0 },
  ...{ q4_k: q4_K, q5_k: q5_K, q6_k: q6_K },
  ...{ f16: f16Block, bf16: bf16Block },
};

/** Mixes of them, for all matrices of a file. */
export const ggufMixes: Readonly<Record<string, GgufMix>> = {
  ...{ q4_k_m: q4_K_M, q4_k_s: q4_K_S, q5_k_m: q5_K_M, q5_k_s: q5_K_S },
};

export const floatZeroPointLayouts: readonly string[] = ['plain'];

/** Readers of every layout, for opening folders. */
export const knownLayouts: readonly QuantizedLayout[] = Object.values(layouts).map((make) => make({}));
