import { FormatError, SchemeError } from '@q/core';
import type { ByteSource } from '@q/safetensors';
import type { GgufHeader } from '../header.js';
import { ggufTensorTypes } from '../tensor-type.js';
import { ModelConfig } from './config.js';
import type { GgufArchitecture, ModelTensor, Pooling } from './conversion.js';
import { architectureOf, ggufArchitectures } from './convert-model.js';
import { FileSettings } from './file-settings.js';
import { type StoredTokenizerFiles, storedTokenizer } from './tokenizer/stored/tokenizer-json.js';

/** The model of a GGUF file, in the form of a model folder. */
export interface FileModel {
  /** `config.json` */
  readonly config: Readonly<Record<string, unknown>>;
  /** The pooling of an encoder's sentence embedding. */
  readonly pooling?: Pooling;
  /** The format of its quantized matrices (`Q4_K_M`), or undefined if they are floats. */
  readonly quantizedAs?: string;
  /** Whether the file has a chat template. */
  readonly chatTemplate: boolean;
  /** Files of the tokenizer, made on request. */
  tokenizer(): StoredTokenizerFiles;
  /**
   * The tensors of the file, with their names in a folder.
   * @param shapes of the folder's tensors by name, linears `[out, in]`
   * @throws FormatError naming a tensor that only one of the two has, or that has another shape in the other
   */
  tensors(shapes: ReadonlyMap<string, readonly number[]>): readonly ModelTensor[];
}

/** llama.cpp's numbers of the pooling types. */
const poolings: readonly (Pooling | undefined)[] = ['none', 'mean', 'cls', 'last'];

/**
 * Reads a file's metadata about its model.
 * @throws SchemeError naming an unknown architecture or setting
 */
export async function readFileModel(
  source: ByteSource,
  header: GgufHeader,
  architectures: readonly GgufArchitecture[] = ggufArchitectures,
): Promise<FileModel> {
  const file = await FileSettings.read(source, header);
  const readers = architectures.filter(({ config }) => config !== undefined);
  const reader = readers.find(({ name }) => name === file.architecture);
  if (!reader?.config)
    throw new SchemeError(
      `${source.name}: general.architecture is ${JSON.stringify(file.architecture)}: ` +
        `${[...new Set(readers.map(({ name }) => name))].join(', ')} can be read`,
    );
  if (!file.shape('token_embd.weight')) throw new FormatError(`${source.name}: has no token_embd.weight`);
  const config = reader.config(file);
  const settings = new ModelConfig(source.name, config);
  const writer = architectureOf(settings, architectures) as GgufArchitecture;
  const pooling = file.has('pooling_type') ? poolings[file.number('pooling_type')] : undefined;
  const quantizedAs = quantizationOf(header);
  const ids = (['bos', 'eos', 'padding'] as const).map((role) => {
    const value = header.metadata.get(`tokenizer.ggml.${role}_token_id`)?.value;
    return [`${role === 'padding' ? 'pad' : role}_token_id`, value] as const;
  });
  const plain = Object.fromEntries(ids.filter(([, value]) => typeof value === 'number'));
  return {
    config: { ...config, ...plain },
    ...(pooling === undefined || pooling === 'none' ? {} : { pooling }),
    ...(quantizedAs === undefined ? {} : { quantizedAs }),
    chatTemplate: header.metadata.has('tokenizer.chat_template'),
    tokenizer: () => storedTokenizer(source.name, header.metadata),
    tensors(shapes) {
      const tensors = writer.tensors(settings, { name: source.name, shapes });
      checkTensors(file, tensors);
      return tensors;
    },
  };
}

/** Checks that both sides have the same tensors, except those that are settings. */
function checkTensors(file: FileSettings, tensors: readonly ModelTensor[]): void {
  const wanted = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  for (const [name, { shape }] of file.header.tensors) {
    const own = wanted.get(name);
    if (!own && !file.usedVectors.has(name))
      throw new FormatError(`${file.name}: tensor ${name} is not part of a model of this architecture`);
    if (own && `${own.shape}` !== `${shape}`)
      throw new FormatError(`${file.name}: tensor ${name} has shape [${shape}]; the settings say [${own.shape}]`);
  }
  for (const name of wanted.keys())
    if (!file.header.tensors.has(name) && !file.usedVectors.has(name))
      throw new FormatError(`${file.name}: tensor ${name} is absent: the architecture needs it`);
}

/** llama.cpp's names of mixes (`general.file_type`) whose tensors are of several types. */
const mixNames: Readonly<Record<number, string>> = {
  ...{ 10: 'Q2_K', 11: 'Q3_K_S', 12: 'Q3_K_M', 13: 'Q3_K_L', 14: 'Q4_K_S', 15: 'Q4_K_M', 16: 'Q5_K_S', 17: 'Q5_K_M' },
  ...{ 18: 'Q6_K', 21: 'Q2_K_S', 25: 'IQ4_NL', 30: 'IQ4_XS', 36: 'TQ1_0', 37: 'TQ2_0', 38: 'MXFP4_MOE' },
};

/** The mix by its name, or the type of most values of the matrices. */
function quantizationOf({ metadata, tensors }: GgufHeader): string | undefined {
  const counts = new Map<string, number>();
  for (const { type, shape } of tensors.values())
    if (type.values > 1) {
      const values = shape.reduce((product, size) => product * size, 1);
      counts.set(type.name, (counts.get(type.name) ?? 0) + values);
    }
  if (counts.size === 0) return undefined;
  const said = metadata.get('general.file_type')?.value;
  const type = ggufTensorTypes.find(({ fileType, values }) => fileType === said && values > 1);
  const mix = typeof said === 'number' ? (mixNames[said] ?? type?.name) : undefined;
  return mix ?? [...counts].sort(([, a], [, b]) => b - a)[0][0];
}
