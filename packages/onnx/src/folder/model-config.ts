import { type Checkpoint, editedConfigText } from '@q/checkpoint';

/** The part `transformers.js_config` of config.json that transformers.js reads. */
export interface TransformersJsConfig {
  /** The type that is loaded when a program names none. */
  readonly dtype: string;
  /** Separate files with values, by the model's file name. */
  readonly use_external_data_format?: Readonly<Record<string, number>>;
}

/**
 * The text of config.json of the written folder: the model's own, without keys about other weight files. Numbers keep
 * their text. transformers.js reads it with `JSON.parse`, which knows no `Infinity` and no `NaN`. The first becomes
 * `1e999`, which all readers take as infinite, the second `null`.
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
