import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { FormatError } from '@q/core';
import { type FileModel, type GgufHeader, readFileModel, readGgufHeader } from '@q/gguf';
import { openFile } from '@q/safetensors';
import type { ModelFiles } from '../model-files.js';

/** A GGUF file whose header has been read. */
export interface GgufFile {
  readonly header: GgufHeader;
  readonly model: FileModel;
  /** Its metadata, in the form of the files of a model folder. */
  readonly files: ModelFiles;
  /** Their names except `config.json`, in order. */
  readonly names: readonly string[];
}

/** The last opened file: one command reads its parts one after the other. */
let last: { readonly key: string; readonly file: Promise<GgufFile> } | undefined;

/**
 * Reads the header of a GGUF file, and only once while the file stays the same.
 * @throws FormatError or SchemeError naming the part that cannot be read
 */
export async function openGgufFile(path: string): Promise<GgufFile> {
  const { size, mtimeMs } = await stat(path);
  const key = `${path} ${size} ${mtimeMs}`;
  if (last?.key !== key) last = { key, file: readWhole(path) };
  const { file } = last;
  return file;
}

async function readWhole(path: string): Promise<GgufFile> {
  const source = await openFile(path);
  try {
    const magic = source.byteLength < 4 ? '' : Buffer.from(await source.slice(0, 4)).toString('latin1');
    if (magic !== 'GGUF')
      throw new FormatError(
        `${path}: is a file, but not GGUF: a model folder in Hugging Face layout or a .gguf file was expected`,
      );
    const header = await readGgufHeader(source);
    const model = await readFileModel(source, header);
    const contents = fileContents(model);
    const json = (name: string) => contents.get(name)?.();
    return {
      header,
      model,
      names: [...contents.keys()].filter((name) => name !== 'config.json').sort(),
      files: {
        where: (name) => `${basename(path)}: ${name}`,
        path: () => undefined,
        async text(name) {
          const content = json(name);
          return content === undefined || typeof content === 'string'
            ? content
            : `${JSON.stringify(content, null, 2)}\n`;
        },
        json: async (name) => json(name),
      },
    };
  } finally {
    await source.close();
  }
}

/** Contents of files by name, made on request. */
function fileContents(model: FileModel): ReadonlyMap<string, () => unknown> {
  let made: ReturnType<FileModel['tokenizer']> | undefined;
  const tokenizer = () => (made ??= model.tokenizer());
  const contents = new Map<string, () => unknown>([
    ['config.json', () => model.config],
    ['tokenizer.json', () => tokenizer().tokenizer],
    ['tokenizer_config.json', () => tokenizer().config],
  ]);
  if (model.pooling) {
    const { pooling } = model;
    contents.set('modules.json', () => [
      { idx: 0, name: '0', path: '', type: 'sentence_transformers.models.Transformer' },
      { idx: 1, name: '1', path: '1_Pooling', type: 'sentence_transformers.models.Pooling' },
      // llama.cpp's programs return vectors of length 1.
      { idx: 2, name: '2', path: '2_Normalize', type: 'sentence_transformers.models.Normalize' },
    ]);
    contents.set('1_Pooling/config.json', () => ({
      pooling_mode_mean_tokens: pooling === 'mean',
      pooling_mode_cls_token: pooling === 'cls',
      pooling_mode_lasttoken: pooling === 'last',
    }));
  } else contents.set('generation_config.json', () => tokenizer().generation);
  if (model.chatTemplate) contents.set('chat_template.jinja', () => tokenizer().chatTemplate);
  return contents;
}
