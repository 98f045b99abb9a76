import { elementCount, FormatError, linearsOf, type Tensor } from '@q/core';
import type { TensorEntry } from '@q/safetensors';
import type { Checkpoint } from './checkpoint.js';
import { editedConfigText } from './config-text.js';
import { transpose } from './transpose.js';

/** Keys with settings of quantized linears: a folder written from their values has none, or its own. */
const settingKeys = ['quantization_config', 'compression_config'];
const settingFiles = new Set(['quantize_config.json', 'quant_config.json']);

/**
 * A folder of quantized linears as plain values: every quantized module has a tensor `weight` of f32, and the config
 * names no layout. Used to quantize such a folder again. A folder without quantized linears is returned as it is.
 * @throws FormatError when no architecture gives the shapes of the matrices
 */
export function valuesOf(checkpoint: Checkpoint): Checkpoint {
  const { quantizedModules, model, layout, path, files } = checkpoint;
  if (quantizedModules.length === 0) return checkpoint;
  if (!model)
    throw new FormatError(
      `${path}: is quantized (${layout}), and its values can be taken only where the architecture is known: ${checkpoint.unknownArchitecture?.message}`,
    );
  const quantized = new Set(quantizedModules);
  const turned = new Set(linearsOf(model).flatMap(({ module, transposed }) => (transposed ? [module] : [])));
  const entries = new Map<string, TensorEntry & { readonly file: string }>();
  const storedBytes = new Map<string, number>();
  // They hold for keys and values of the weights that they were calibrated with.
  const cacheScales = new Set(checkpoint.cache?.tensors);
  for (const [name, entry] of checkpoint.tensors) {
    if (cacheScales.has(name)) continue;
    const module = name.replace(/\.[^.]*$/, '');
    if (!quantized.has(module) || name.endsWith('.bias')) {
      entries.set(name, entry);
      continue;
    }
    const weight = `${module}.weight`;
    const shape = model.expected.get(weight);
    if (!shape)
      throw new FormatError(`${path}: module ${module} is quantized, and ${model.architecture} has none of that name`);
    storedBytes.set(weight, (storedBytes.get(weight) ?? 0) + entry.end - entry.begin);
    entries.set(weight, { ...entry, name: weight, dtype: 'F32', shape, begin: 0, end: 4 * elementCount(shape) });
  }
  let last: { readonly name: string; readonly values: Tensor<'f32'> } | undefined;
  /** In the order of the file. */
  const decoded = async (name: string): Promise<Tensor<'f32'>> => {
    if (last?.name !== name) {
      const values = await checkpoint.weight(name);
      last = { name, values: turned.has(name.replace(/\.weight$/, '')) ? transpose(values) : values };
    }
    return last.values;
  };
  const { layout: _, cache: __, ...rest } = checkpoint;
  return {
    ...rest,
    config: Object.fromEntries(Object.entries(checkpoint.config).filter(([key]) => !settingKeys.includes(key))),
    files: {
      ...files,
      async text(name) {
        const text = await files.text(name);
        return name === 'config.json' && text !== undefined ? editedConfigText(text, {}, [], name, settingKeys) : text;
      },
    },
    otherFiles: checkpoint.otherFiles.filter((name) => !settingFiles.has(name)),
    roundedTo: layout as string,
    storedBytes,
    tensors: entries,
    quantizedModules: [],
    quantized: async () => undefined,
    activation: async () => undefined,
    async read(name) {
      return storedBytes.has(name) ? decoded(name) : checkpoint.read(name);
    },
    async readBytes(name, start = 0, end) {
      if (!storedBytes.has(name)) return checkpoint.readBytes(name, start, end);
      const { data } = await decoded(name);
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      return bytes.subarray(start, end);
    },
  };
}

/** Bytes of a tensor in its source, which may have it rounded. */
export const sourceBytes = ({ storedBytes }: Checkpoint, { name, begin, end }: TensorEntry): number =>
  storedBytes?.get(name) ?? end - begin;
