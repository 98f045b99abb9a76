import { SchemeError } from '@q/core';
import type { GgufValue } from '../metadata.js';
import { bertGguf, distilBertGguf } from './architectures/bert.js';
import { gemma2Gguf, gemma3Gguf, gemmaEmbeddingGguf, gemmaGguf } from './architectures/gemma.js';
import { gptOssGguf } from './architectures/gpt-oss.js';
import { gpt2Gguf, gptNeoxGguf } from './architectures/gpt2.js';
import { graniteGguf, llamaGguf, smollm3Gguf } from './architectures/llama.js';
import { modernBertGguf } from './architectures/modernbert.js';
import { olmo2Gguf } from './architectures/olmo2.js';
import { phi3Gguf } from './architectures/phi3.js';
import { qwen2Gguf, qwen2MoeGguf, qwen3Gguf, qwen3MoeGguf } from './architectures/qwen.js';
import { stableLmGguf } from './architectures/stablelm.js';
import { ModelConfig } from './config.js';
import type { ConversionSource, ConvertedModel, GgufArchitecture } from './conversion.js';
import { tokenizerMetadata } from './tokenizer/tokenizer-metadata.js';
import { text, u32 } from './values.js';

/** The families that can be converted. */
export const ggufArchitectures: readonly GgufArchitecture[] = [
  ...[llamaGguf, qwen2Gguf, qwen2MoeGguf, qwen3Gguf, qwen3MoeGguf, gemma2Gguf, phi3Gguf, olmo2Gguf],
  // The first family of the type that accepts a model.
  ...[
    gemmaEmbeddingGguf,
    gemma3Gguf,
    gemmaGguf,
    smollm3Gguf,
    graniteGguf,
    gpt2Gguf,
    gptNeoxGguf,
    gptOssGguf,
    stableLmGguf,
    bertGguf,
    distilBertGguf,
    modernBertGguf,
  ],
];

export interface ConvertOptions {
  readonly architectures?: readonly GgufArchitecture[];
  /** llama.cpp's name for the way in which the tokenizer splits text, for tokenizers that are not recognized. */
  readonly preTokenizer?: string;
}

/**
 * Names, hyperparameters and tokenizer of a model in llama.cpp's form. Reads no values.
 * @throws SchemeError for a model, a setting or a tokenizer that llama.cpp does not support; FormatError for a tensor
 *   without a name
 */
export function convertModel(source: ConversionSource, options: ConvertOptions = {}): ConvertedModel {
  const { architectures = ggufArchitectures, preTokenizer } = options;
  const type = source.config.model_type;
  const config = new ModelConfig(`${source.name}: config.json`, textPart(source.config));
  const architecture = architectureOf(config, architectures);
  if (!architecture)
    throw new SchemeError(
      `${source.name}: config.json has model_type ${JSON.stringify(type)}; GGUF files can be made of ` +
        `${[...new Set(architectures.flatMap(({ modelTypes }) => modelTypes))].join(', ')}`,
    );
  const { dense = [] } = source;
  if (dense.length > (architecture.denseLayers ?? 0) || dense.some(({ more }) => more))
    throw new SchemeError(
      `${source.name}: modules.json has ${dense.length} linear layers after the pooling; llama.cpp runs ${architecture.denseLayers ?? 0} for ${architecture.name}, without biases and activations`,
    );
  const tensors = architecture.tensors(config, source);
  const embeddings = tensors.find(({ name }) => name === 'token_embd.weight');
  if (!embeddings) throw new SchemeError(`${source.name}: has no embeddings of tokens`);
  const metadata = new Map<string, GgufValue>([
    ['general.architecture', text(architecture.name)],
    ['general.type', text('model')],
    ['general.name', text(source.name.replace(/^.*[\\/](?=[^\\/])/, '').replace(/[\\/]$/, ''))],
  ]);
  for (const [key, value] of architecture.hyperparameters(config, source))
    metadata.set(`${architecture.name}.${key}`, value);
  const { tokenizer: defaults = {} } = architecture;
  if (defaults.tokenTypes) metadata.set('tokenizer.ggml.token_type_count', u32(defaults.tokenTypes(config)));
  const tokenizer = tokenizerMetadata({
    ...{ name: source.name, files: source.tokenizer, config: config.json, size: embeddings.shape[0], defaults },
    ...(preTokenizer === undefined ? {} : { preTokenizer }),
  });
  for (const [key, value] of tokenizer) metadata.set(key, value);
  return { metadata, tensors, notes: headNotes(source, architecture) };
}

/** Names the head of an encoder that is left out. */
function headNotes({ shapes, config }: ConversionSource, { heads }: GgufArchitecture): readonly string[] {
  const isWeight = (name: string) => Number(name.endsWith('.weight'));
  const [first, ...others] = [...shapes.keys()]
    .filter((name) => heads?.test(name))
    .sort((a, b) => isWeight(b) - isWeight(a));
  if (first === undefined) return [];
  const more = others.length > 0 ? ` and ${others.length} more` : '';
  const stated = Array.isArray(config.architectures) ? ` of ${config.architectures.join(', ')}` : '';
  return [`the head ${first}${more}${stated} is not written: the file gives embeddings alone`];
}

/** The family of a model. */
export function architectureOf(
  config: ModelConfig,
  architectures: readonly GgufArchitecture[],
): GgufArchitecture | undefined {
  const type = config.json.model_type;
  return architectures.find(
    ({ modelTypes, accepts }) => typeof type === 'string' && modelTypes.includes(type) && (accepts?.(config) ?? true),
  );
}

/** The settings of the text model in a model with vision. */
function textPart(config: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const inner = config.text_config;
  return typeof inner === 'object' && inner !== null ? { ...config, ...inner, model_type: config.model_type } : config;
}
