import { join } from 'node:path';
import { type BlockSource, FormatError, type Tensor, viewBytes } from '@q/core';
import type { ConversionSource, Pooling, TokenizerFiles } from '@q/gguf';
import type { Checkpoint } from '../checkpoint.js';
import type { ModelFiles } from '../model-files.js';
import { readSentenceModules } from '../sentence-modules.js';

/** Dtypes whose bytes a conversion can read directly. */
const plainDtypes = { F32: 'f32', F16: 'f16', BF16: 'bf16' } as const;

/**
 * A model folder in the form that `@q/gguf` converts: it reads rows from the files as they are, or decodes quantized
 * ones.
 */
export async function conversionSource(checkpoint: Checkpoint): Promise<ConversionSource> {
  const { path, files, config, tensors, quantizedModules, model } = checkpoint;
  const quantized = new Set(quantizedModules);
  const described = [...(model?.blocks.flatMap((block) => block.linears) ?? []), model?.head];
  const linears = new Map(described.flatMap((linear) => (linear ? [[linear.module, linear]] : [])));
  const shapes = new Map<string, readonly number[]>();
  for (const [name, { shape }] of tensors) {
    const module = name.replace(/\.[^.]*$/, '');
    // The tensors of a quantized weight become one weight; its bias is an ordinary tensor.
    if (quantized.has(module) && !name.endsWith('.bias')) {
      const linear = linears.get(module);
      if (linear) shapes.set(`${module}.weight`, [linear.outFeatures, linear.inFeatures]);
      continue;
    }
    const transposed = linears.get(module)?.transposed && name.endsWith('.weight');
    shapes.set(name, transposed ? [...shape].reverse() : shape);
  }
  let last: { readonly name: string; readonly values: Tensor<'f32'> } | undefined;

  async function rows(name: string, begin: number, end: number): Promise<BlockSource> {
    const shape = shapes.get(name) as readonly number[];
    const columns = shape.length > 1 ? shape[shape.length - 1] : 1;
    const entry = tensors.get(name);
    const module = name.replace(/\.[^.]*$/, '');
    const dtype = entry && plainDtypes[entry.dtype as keyof typeof plainDtypes];
    if (dtype && !quantized.has(module) && !linears.get(module)?.transposed) {
      const width = columns * (dtype === 'f32' ? 4 : 2);
      const bytes = await checkpoint.readBytes(name, begin * width, end * width);
      return { dtype, data: viewBytes(dtype, bytes) } as BlockSource;
    }
    if (last?.name !== name) last = { name, values: await checkpoint.weight(name) };
    return { dtype: 'f32', data: last.values.data.subarray(begin * columns, end * columns) };
  }
  const pooling = await readPooling(files);
  const dense = (pooling && (await readSentenceModules(path)))?.modules.flatMap((module) =>
    module.kind === 'dense'
      ? [{ weight: module.weight, more: module.bias !== undefined || module.activation !== 'identity' }]
      : [],
  );
  return {
    ...{ name: path, config, shapes, rows },
    tokenizer: await readTokenizer(files),
    ...(pooling === undefined ? {} : { pooling }),
    ...(dense?.length ? { dense } : {}),
  };
}

async function readTokenizer(files: ModelFiles): Promise<TokenizerFiles> {
  const [tokenizer, config] = (await Promise.all(
    ['tokenizer.json', 'tokenizer_config.json'].map((name) => files.json(name)),
  )) as (Record<string, unknown> | undefined)[];
  const chatTemplate = await files.text('chat_template.jinja');
  return {
    ...(tokenizer ? { tokenizer } : {}),
    ...(config ? { config } : {}),
    ...(chatTemplate === undefined ? {} : { chatTemplate }),
  };
}

/** In the form of sentence-transformers: a list of modules, and the folder of the pooling module. */
async function readPooling(files: ModelFiles): Promise<Pooling | undefined> {
  const modules = await files.json('modules.json');
  if (!Array.isArray(modules)) return undefined;
  const folder = modules.find((module) => typeof module?.type === 'string' && module.type.endsWith('Pooling'))?.path;
  const settings =
    typeof folder === 'string'
      ? ((await files.json(join(folder, 'config.json'))) as Record<string, unknown>)
      : undefined;
  if (!settings) return undefined;
  if (settings.pooling_mode_mean_tokens === true || settings.pooling_mode === 'mean') return 'mean';
  if (settings.pooling_mode_cls_token === true || settings.pooling_mode === 'cls') return 'cls';
  if (settings.pooling_mode_lasttoken === true || settings.pooling_mode === 'lasttoken') return 'last';
  throw new FormatError(
    `${files.where(join(folder as string, 'config.json'))}: its pooling is not supported: mean, cls and last token are`,
  );
}
