import { type Checkpoint, editedConfigText } from '@q/checkpoint';

/** What transformers.js reads from `transformers.js_config` of config.json. */
export interface TransformersJsConfig {
  /** The type that is loaded where a program names none. */
  readonly dtype: string;
  /** Files with values beside a model, by the model's file name. */
  readonly use_external_data_format?: Readonly<Record<string, number>>;
}

/**
 * The text of config.json of the written folder: the model's own, without what speaks of other weight files. Numbers keep their
 * text. transformers.js reads it with `JSON.parse`, which knows no `Infinity` and no `NaN`: the first is written as `1e999`, which
 * all readers take for it, the second as `null`.
 */
export async function modelConfigText(
  { files, configChanges }: Checkpoint,
  settings: TransformersJsConfig,
): Promise<string> {
  const original = (await files.text('config.json')) as string;
  const changes = { ...configChanges, 'transformers.js_config': settings };
  const text = editedConfigText(original, changes, [], 'config.json', ['quantization_config', 'torch_dtype', 'dtype']);
  return text.replace(/"(?:[^"\\]|\\.)*"|Infinity|NaN/g, (found) => literals.get(found) ?? found);
}

const literals: ReadonlyMap<string, string> = new Map([
  ['Infinity', '1e999'],
  ['NaN', 'null'],
]);
