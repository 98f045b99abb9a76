import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { FormatError, SchemeError, type Tensor, tensor, toF32 } from '@q/core';
import { type PoolingMode, poolingModes, type SentenceModule, type SentenceModules } from '@q/models';
import { openShards } from '@q/safetensors';
import { type ModelFiles, openModelFiles } from './model-files.js';
import { shownValue } from './shown-value.js';

type Json = Readonly<Record<string, unknown>>;

/**
 * The steps that make vectors in a sentence-transformers folder, or in an encoder of a GGUF file: `modules.json` and
 * the folders that it names. Undefined if there is no such file.
 * @throws FormatError naming the file that cannot be read, SchemeError naming an unknown kind of module
 */
export async function readSentenceModules(model: string): Promise<SentenceModules | undefined> {
  const files = await openModelFiles(model);
  const place = files.where('modules.json');
  const list = (await files.json('modules.json')) as readonly Json[] | undefined;
  if (list === undefined) return undefined;
  if (!Array.isArray(list)) throw new FormatError(`${place}: is not a list`);
  const modules: SentenceModule[] = [];
  for (const entry of list as readonly (Json | null)[]) {
    const { type, path = '' } = entry ?? {};
    if (typeof type !== 'string' || typeof path !== 'string')
      throw new FormatError(`${place}: a type and a path were expected of each module, found ${JSON.stringify(entry)}`);
    const kind = type.split('.').at(-1) as string;
    if (kind === 'Transformer') continue;
    const reader = Object.hasOwn(readers, kind) ? readers[kind] : undefined;
    if (!reader)
      throw new SchemeError(
        `${place}: module ${JSON.stringify(type)} is not known: ${Object.keys(readers).join(', ')} are`,
      );
    modules.push(await reader(files, path));
  }
  const settings = (await files.json('sentence_bert_config.json')) as Json | undefined;
  const maxLength = settings?.max_seq_length;
  return {
    modules,
    name: `modules.json: ${modules.map((module) => (module.kind === 'pooling' ? module.modes.join(' + ') : module.kind)).join(', ')}`,
    ...(typeof maxLength === 'number' ? { maxLength } : {}),
  };
}

const readers: Readonly<Record<string, (files: ModelFiles, folder: string) => Promise<SentenceModule>>> = {
  Normalize: async () => ({ kind: 'normalize' }),
  async Pooling(files, folder) {
    const file = files.where(join(folder, 'config.json'));
    const config = (await files.json(join(folder, 'config.json'))) as Json | undefined;
    if (!config) throw new FormatError(`${file}: is absent; modules.json names its folder`);
    const named = typeof config.pooling_mode === 'string' ? config.pooling_mode.split('+') : [];
    const flags: readonly (readonly [string, PoolingMode])[] = [
      ['pooling_mode_cls_token', 'cls'],
      ['pooling_mode_max_tokens', 'max'],
      ['pooling_mode_mean_tokens', 'mean'],
      ['pooling_mode_mean_sqrt_len_tokens', 'mean_sqrt_len'],
      ['pooling_mode_lasttoken', 'lasttoken'],
    ];
    const modes = [...named, ...flags.filter(([key]) => config[key] === true).map(([, mode]) => mode)];
    if (config.pooling_mode_weightedmean_tokens === true) modes.push('weightedmean');
    const unknown = modes.find((mode) => !poolingModes.some((known) => known === mode));
    if (unknown !== undefined || modes.length === 0)
      throw new SchemeError(`${file}: pooling ${unknown ?? 'of no kind'} is not known: ${poolingModes.join(', ')} are`);
    return { kind: 'pooling', modes: modes as PoolingMode[] };
  },
  async Dense(files, below) {
    const file = files.where(join(below, 'config.json'));
    const config = ((await files.json(join(below, 'config.json'))) ?? {}) as Json;
    const folder = files.where(below);
    const name = shownValue(config.activation_function ?? 'torch.nn.modules.activation.Tanh')
      .split('.')
      .at(-1)
      ?.toLowerCase();
    if (name !== 'tanh' && name !== 'identity')
      throw new SchemeError(
        `${file}: activation ${shownValue(config.activation_function)} is not known: Tanh and Identity are`,
      );
    const present = await stat(join(folder, 'model.safetensors')).catch(() => undefined);
    if (!present)
      throw new FormatError(`${join(folder, 'model.safetensors')}: is absent; a dense layer has its weights there`);
    const shards = await openShards(folder);
    try {
      const weight = await shards.read('linear.weight');
      const bias = shards.entries.has('linear.bias') ? toF32((await shards.read('linear.bias')) as Tensor) : undefined;
      return {
        kind: 'dense',
        weight: tensor('f32', weight.shape, toF32(weight)),
        activation: name,
        ...(bias ? { bias } : {}),
      };
    } finally {
      await shards.close();
    }
  },
};
