import { stat } from 'node:fs/promises';
import { describeScheme, FormatError, SchemeError } from '@q/core';
import { type GgufHeader, readFileModel, readGgufHeader } from '@q/gguf';
import type { Vocabulary } from '@q/pipeline';
import { type ByteSource, openFile, readHeader } from '@q/safetensors';
import type { CommandContext } from '../command.js';
import { openModel } from '../open-model.js';
import { formatBytes, formatTable } from '../units.js';
import { UsageError } from '../usage-error.js';
import { sizeOf } from './evaluate.js';

interface InspectedTensor {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: number;
  /** The file that contains it. */
  readonly file: string;
  /** A description, for tensors of quantized linears. */
  readonly scheme?: string;
}

/** `q inspect PATH`: every tensor of a folder or of one safetensors or GGUF file, its scheme and bytes. */
export async function inspectCommand(
  path: string,
  options: { readonly json?: boolean },
  { terminal, vocabulary }: CommandContext,
): Promise<void> {
  const info = await stat(path).catch(() => undefined);
  if (!info)
    throw new UsageError(`${path}: does not exist; a model folder, a .safetensors or a .gguf file was expected`);
  const found = info.isDirectory() ? await inspectFolder(path, vocabulary) : await inspectFile(path);
  if (options.json) {
    terminal.printJson({ path, ...found });
    return;
  }
  const { tensors, ...rest } = found;
  terminal.print(
    formatTable(
      ['tensor', 'shape', 'dtype', 'bytes', 'scheme'],
      tensors.map(({ name, shape, dtype, bytes, scheme }) => [
        name,
        `[${shape.join(', ')}]`,
        dtype,
        formatBytes(bytes),
        scheme ?? '',
      ]),
    ),
  );
  terminal.print('');
  for (const [key, value] of Object.entries(rest)) {
    if (value !== null) terminal.print(`${key}: ${key === 'bytes' ? formatBytes(value as number) : value}`);
  }
}

async function inspectFile(path: string): Promise<{ tensors: InspectedTensor[]; bytes: number }> {
  const source = await openFile(path);
  try {
    const header = /\.gguf$/i.test(path) ? await readGgufHeader(source) : undefined;
    const entries = header
      ? [...header.tensors.values()].map((tensor) => ({ ...tensor, dtype: tensor.type.name }))
      : [...(await readHeader(source)).tensors.values()];
    const rows = entries.map(({ name, dtype, shape, begin, end }) => ({
      name,
      dtype,
      shape,
      bytes: end - begin,
      file: path,
    }));
    const bytes = rows.reduce((sum, each) => sum + each.bytes, 0);
    return { ...(header ? await describedFile(source, header) : {}), tensors: rows, bytes };
  } finally {
    await source.close();
  }
}

/** The model type of a GGUF file and its quantization; undefined if it has no known model. */
async function describedFile(source: ByteSource, header: GgufHeader) {
  try {
    const { config, quantizedAs } = await readFileModel(source, header);
    return { architecture: config.model_type, quantized: quantizedAs ?? null };
  } catch (error) {
    if (error instanceof SchemeError || error instanceof FormatError) return {};
    throw error;
  }
}

async function inspectFolder(path: string, vocabulary: Vocabulary) {
  const checkpoint = await openModel(path, vocabulary);
  try {
    const schemes = new Map<string, string>();
    for (const module of checkpoint.quantizedModules) {
      const quantized = await checkpoint.quantized(module);
      if (quantized)
        schemes.set(module, `${describeScheme(quantized.scheme)}${quantized.groupIndex ? ', reordered' : ''}`);
    }
    const tensors = [...checkpoint.tensors].map(([name, { dtype, shape, begin, end, file }]): InspectedTensor => {
      const scheme = name.endsWith('.bias') ? undefined : schemes.get(name.replace(/\.[^.]*$/, ''));
      return { name, dtype, shape, bytes: end - begin, file, ...(scheme ? { scheme } : {}) };
    });
    return {
      architecture: checkpoint.model?.architecture ?? null,
      layout: checkpoint.layout ?? null,
      bytes: checkpoint.bytes,
      bitsPerWeight: sizeOf(checkpoint).bitsPerWeight,
      parameters: checkpoint.model
        ? [...checkpoint.model.expected.values()].reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0)
        : null,
      tensors,
    };
  } finally {
    await checkpoint.close();
  }
}
