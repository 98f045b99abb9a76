import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { type Checkpoint, copyModelFile, editedConfigText, readSentenceModules } from '@q/checkpoint';
import { type ProgressEvent, SchemeError } from '@q/core';
import { type FileOptions, makeFolders, nodeFiles, partialName, writeFileDurably } from '@q/durable-files';
import { exportModel } from '../export-model.js';
import { writeModel } from '../file/write-model.js';
import type { WeightQuantizer } from '../matrices/block-matrix.js';
import type { OnnxType } from '../onnx-type.js';
import { genaiConfig } from './genai-config.js';
import { modelConfigText, type TransformersJsConfig } from './model-config.js';

export interface OnnxFolderOptions extends FileOptions {
  readonly type: OnnxType;
  /** Makes the codes of matrices that have none. */
  readonly quantizer: WeightQuantizer;
  /** Use only ONNX's own operators. Default false. */
  readonly portable?: boolean;
  /** Number of positions of the file: see `ExportOptions`. */
  readonly context?: number;
  /** Default 128 MiB: see `ExportOptions`. */
  readonly tensorBytes?: number;
  /** A model of more bytes has its tensors in separate files of at most `dataFileBytes`. Default 1 GB. */
  readonly modelFileBytes?: number;
  /** Default 2 GB. */
  readonly dataFileBytes?: number;
  readonly producer: { readonly name: string; readonly version: string };
  readonly signal?: AbortSignal;
  readonly progress?: (event: ProgressEvent) => void;
}

export interface WrittenFolder {
  /** Paths below the folder. */
  readonly files: readonly string[];
  /** Bytes of the model and its data files. */
  readonly bytes: number;
  readonly notes: readonly string[];
}

/**
 * Writes a model folder that transformers.js and onnxruntime-genai read: `onnx/model_q4.onnx`, config, tokenizer. A
 * folder that holds the same model as another type gets one more file.
 * @throws SchemeError when the folder holds something else, or the model cannot be written as a graph
 * @throws WriteError when a file cannot be written
 */
export async function writeOnnxFolder(
  checkpoint: Checkpoint,
  out: string,
  options: OnnxFolderOptions,
): Promise<WrittenFolder> {
  const { type, portable, context, producer, signal, progress, files = nodeFiles } = options;
  const { tensorBytes, modelFileBytes = 1e9, dataFileBytes = 2e9 } = options;
  const name = `model${type.suffix}.onnx`;
  const before = await readBefore(checkpoint, out, name, { files });
  const sentence = await readSentenceModules(checkpoint.path);
  const exported = await exportModel(checkpoint, {
    ...type.forms(options.quantizer),
    ...{ type: type.type, portable, context, tensorBytes, producer },
    ...(sentence ? { sentence } : {}),
  });
  const made = await files.info(out).then((info) => info === undefined);
  await makeFolders(join(out, 'onnx'), { files });
  const written = await writeModel(join(out, 'onnx', name), exported.model, exported.payloads, {
    ...{ files, signal, progress },
    ...(exported.bytes > modelFileBytes ? { externalBytes: dataFileBytes } : {}),
  }).catch(async (error) => {
    // If nothing is left, the same command starts over.
    for (const folder of [join(out, 'onnx'), ...(made ? [out] : [])])
      if ((await files.list(folder))?.length === 0) await files.removeFolder(folder);
    throw error;
  });
  const dataFiles = written.files.length - 1;
  const tokenizer = await copyTokenizer(checkpoint, out, { files });
  const settings: TransformersJsConfig = {
    dtype: before?.dtype ?? type.name,
    ...(dataFiles > 0 || before?.use_external_data_format
      ? {
          use_external_data_format: {
            ...before?.use_external_data_format,
            ...(dataFiles > 0 ? { [name]: dataFiles } : {}),
          },
        }
      : {}),
  };
  const texts: [string, string][] = [];
  if (checkpoint.model?.head)
    texts.push(['genai_config.json', `${JSON.stringify(genaiConfig(checkpoint, `onnx/${name}`), null, 2)}\n`]);
  // It is written last: a folder without it is not a model.
  texts.push(['config.json', await modelConfigText(checkpoint, settings)]);
  for (const [file, text] of texts) await writeFileDurably(join(out, file), text, { files });
  return {
    files: [
      ...written.files.map((path) => `onnx/${basename(path)}`),
      ...tokenizer.files,
      ...texts.map(([file]) => file),
    ],
    bytes: written.bytes,
    notes: [...exported.notes, ...tokenizer.notes],
  };
}

/** Settings of an existing folder, if it holds the same model. */
async function readBefore(
  checkpoint: Checkpoint,
  out: string,
  name: string,
  { files = nodeFiles }: FileOptions,
): Promise<TransformersJsConfig | undefined> {
  const names = await files.list(out);
  if (!names || names.length === 0) {
    if (await files.info(out).then((info) => info && !info.isFolder))
      throw new SchemeError(`${out}: is a file; an output folder was expected`);
    return undefined;
  }
  if (await isBegun(out, names, { files })) return undefined;
  if (await files.info(join(out, 'onnx', name)))
    throw new SchemeError(`${join(out, 'onnx', name)}: is there already: remove it, or choose another output folder`);
  const text = await readFile(join(out, 'config.json'), 'utf8').catch(() => undefined);
  const config = text === undefined ? undefined : parsed(text);
  const own = config?.['transformers.js_config'] as TransformersJsConfig | undefined;
  const expected = own && (await modelConfigText(checkpoint, own));
  if (!expected || JSON.stringify(config) !== JSON.stringify(JSON.parse(expected)))
    throw new SchemeError(
      `${out}: exists, is not empty and is not a folder of this model in ONNX: choose another output folder or remove it`,
    );
  return own;
}

/** Whether the folder contains only the unfinished files of a killed conversion. */
async function isBegun(out: string, names: readonly string[], { files = nodeFiles }: FileOptions): Promise<boolean> {
  if (names.length !== 1 || names[0] !== 'onnx') return false;
  const begun = (await files.list(join(out, 'onnx'))) ?? [];
  return begun.every((name) => name.endsWith(partialName('')));
}

function parsed(text: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const tokenizerFiles =
  /^(tokenizer.*\.json|special_tokens_map\.json|added_tokens\.json|vocab\.(json|txt)|merges\.txt|generation_config\.json|.*preprocessor_config\.json|.*\.model|modules\.json|sentence_bert_config\.json|config_sentence_transformers\.json|LICENSE.*)$/i;

/** The tokenizer's files, with the chat template where transformers.js looks for it. */
async function copyTokenizer(
  checkpoint: Checkpoint,
  out: string,
  options: FileOptions,
): Promise<{ files: string[]; notes: string[] }> {
  const notes: string[] = [];
  const names = checkpoint.otherFiles.filter((name) => tokenizerFiles.test(name));
  for (const needed of ['tokenizer.json', 'tokenizer_config.json'])
    if (!names.includes(needed)) notes.push(`the model folder has no ${needed}: transformers.js needs it for text`);
  const template = checkpoint.otherFiles.includes('chat_template.jinja')
    ? await checkpoint.files.text('chat_template.jinja')
    : undefined;
  for (const name of names) {
    if (name !== 'tokenizer_config.json' || template === undefined) {
      await copyModelFile(checkpoint.files, name, join(out, name), options);
      continue;
    }
    const original = (await checkpoint.files.text(name)) as string;
    const text = editedConfigText(original, { chat_template: template }, [], checkpoint.files.where(name));
    await writeFileDurably(join(out, name), text, options);
  }
  return { files: names, notes };
}
