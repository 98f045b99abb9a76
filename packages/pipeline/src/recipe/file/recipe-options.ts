import {
  boolean,
  choice,
  choiceOf,
  inputSchemes,
  integer,
  list,
  type ModelStep,
  named,
  number,
  type Option,
  type OptionRecord,
  staticCacheSchemes,
  text,
} from '@q/core';
import { methodOptions } from './method-options.js';
import type { Vocabulary } from './vocabulary.js';

/** Options of the scheme of linears. A rule may set them, for every method. */
export const schemeOptions = {
  /** A scheme by its name, or a number format with its granularity; an object is the JSON of a scheme. */
  weights: {
    ...text({
      placeholder: 'scheme',
      help: "Scheme of the weights: nf4, fp8-row, mxfp4, 'int3 g64', 'uint4 g32 asym'.",
    }),
    accepts: (value: unknown): value is string | object =>
      (typeof value === 'string' && value.trim() !== '') || (typeof value === 'object' && value !== null),
    resolve: (value: unknown) => value,
    schema: () => ({ anyOf: [{ type: 'string' }, { type: 'object' }] }),
  } as Option<string | object>,
  /** Bits of a weight. */
  bits: integer({ min: 2, max: 8, default: 4, help: 'Bits of a weight.' }),
  /** Columns that share a scale. */
  group: integer({ min: -1, default: 128, help: 'Columns that share a scale; -1: one scale per output channel.' }),
  /** True: grids have no zero points. */
  symmetric: boolean({ default: false, help: 'Without zero points.' }),
  /** A scheme of the inputs of linears, by its name. */
  inputs: choice(
    inputSchemes.map(({ name }) => name),
    { otherwise: 'none, or by the method or layout', help: 'Quantize the inputs of linears too, as the model runs.' },
  ),
  /** The largest magnitude that a dynamic scale of FP8 inputs covers. */
  inputBound: number({
    above: 0,
    otherwise: 'none, or by the layout',
    help: 'Largest magnitude that a dynamic scale of FP8 inputs covers; 1200 in the Llama 3 report.',
  }),
};

const bits = integer({ min: 2, max: 8, help: 'Bits.' });
const isStep = (value: object): value is ModelStep => 'apply' in value;

/** Options at the top of a recipe that a rule cannot set. */
export const topOptions = {
  layout: text({
    placeholder: 'name',
    otherwise: 'by the method, or one that holds the scheme',
    help: 'Layout of the written folder.',
  }),
  transforms: list(named<ModelStep>('steps', isStep, { help: 'A step.' }), {
    otherwise: 'none',
    help: 'Steps before the method that change weights and keep the function, in this order.',
  }),
  rotate: boolean({ default: false, help: 'Rotate the residual stream and the heads first.' }),
  budget: {
    ...number({
      placeholder: 'size',
      help: 'Choose the bits of each module: bits per weight (3.0), or bytes of all tensors (900MB).',
    }),
    expected: 'bits per weight (3.0) or a size of all tensors (900MB)',
    accepts: (value: unknown): value is number | string => typeof value === 'number' || typeof value === 'string',
    resolve: (value: unknown) => (typeof value === 'number' || typeof value === 'string' ? value : undefined),
    parse: (word: string) => word,
    schema: () => ({ anyOf: [{ type: 'number' }, { type: 'string' }] }),
  } as Option<number | string>,
  maxBytes: {
    ...number({
      placeholder: 'size',
      otherwise: 'none',
      help: 'Size of all tensors (75MB, or bytes), without headers and the other files; as --budget with a size.',
    }),
    expected: 'a size of all tensors (75MB), or a number of bytes',
    accepts: (value: unknown): value is number | string =>
      (typeof value === 'number' && Number.isInteger(value) && value > 0) || typeof value === 'string',
    resolve: (value: unknown) => (typeof value === 'number' || typeof value === 'string' ? value : undefined),
    parse: (word: string) => word,
    schema: () => ({ anyOf: [{ type: 'integer', minimum: 1 }, { type: 'string' }] }),
  } as Option<number | string>,
  candidateBits: list(bits, { otherwise: '2 to 8', help: 'With a budget, the bits to choose from.' }),
  candidates: list(text({ help: 'A scheme.' }), {
    otherwise: 'integers of candidateBits',
    help: "With a budget, the schemes to choose from: 'int3 g64,nf4,fp8-row'.",
  }),
  embeddings: text({
    placeholder: 'format',
    otherwise: 'keep; auto with a size that needs it',
    help: "Scheme of the tables of embeddings: 'int8 g32', 'int4 g64', keep, or auto: the budget chooses.",
  }),
  head: text({
    placeholder: 'format',
    otherwise: 'keep; auto with a size that needs it',
    help: 'Scheme of the output head, a pooler and the table that the head is tied to, keep, or auto: the budget chooses.',
  }),
  kvCache: choiceOf(staticCacheSchemes, {
    otherwise: 'none',
    help: 'Calibrate static scales for a cache of keys and values in this format, and write them.',
  }),
  expertTokens: integer({
    min: 0,
    otherwise: '64',
    help: 'Calibration tokens that an expert needs; with fewer it is rounded to nearest.',
  }),
  windowShards: integer({
    min: 1,
    otherwise: '1',
    help: 'Shards of the calibration windows, with statistics of their own, that workers of --queue can compute.',
  }),
  memory: integer({
    min: 1,
    otherwise: 'that of the machine',
    placeholder: 'bytes',
    help: 'Bytes that a run may take. Beyond it activations go to the disk, and a training is refused.',
  }),
  maxShardBytes: integer({ min: 1, otherwise: '5e9', placeholder: 'bytes', help: 'Largest weight file.' }),
  requantize: boolean({
    default: false,
    help: 'Round weights that are rounded already (a GGUF file, a quantized folder), which costs accuracy.',
  }),
  seed: integer({ default: 0, help: 'Seed of everything random.' }),
  use: list(text({ help: 'A module.' }), {
    otherwise: 'none',
    placeholder: 'module',
    help: 'Modules that bring methods, layouts and other parts: npm names or paths.',
  }),
};

/** The option `method`, with the names of a vocabulary. */
export function methodOption({ methods }: Vocabulary): Option<string> {
  const names = methods.map(({ name }) => name);
  return choice(names, { default: names.includes('gptq') ? 'gptq' : names[0], help: 'The method.' });
}

/** The key at the top of a recipe for an option of a layout: `layoutVersion` for `version`. */
export const layoutKey = (option: string): string => `layout${option[0].toUpperCase()}${option.slice(1)}`;

/** Options of all layouts, by their keys at the top of a recipe. */
export function layoutOptions({ layouts }: Vocabulary): OptionRecord {
  return Object.fromEntries(
    layouts.flatMap(({ options }) =>
      Object.entries(options as OptionRecord).map(([key, option]) => [layoutKey(key), option]),
    ),
  );
}

/** Every declaration of an option of a method, by key: a key may mean different things for different methods. */
export function optionsOfMethods(vocabulary: Vocabulary): ReadonlyMap<string, readonly Option<any>[]> {
  const all = new Map<string, Option<any>[]>();
  for (const method of vocabulary.methods)
    for (const [key, option] of Object.entries(methodOptions(method, vocabulary)))
      all.set(key, [...(all.get(key) ?? []), option]);
  return all;
}
