/** The part `transformers.js_config` of config.json that transformers.js reads. */
export interface TransformersJsConfig {
  /** The type that is loaded when a program names none. */
  readonly dtype: string;
  /** Separate files with values, by the model's file name. */
  readonly use_external_data_format?: Readonly<Record<string, number>>;
}

/** config.json of the written folder: the model's own, without keys about other weight files. */
export function modelConfig(
  config: Readonly<Record<string, unknown>>,
  settings: TransformersJsConfig,
): Record<string, unknown> {
  const { quantization_config, torch_dtype, dtype, ...rest } = config;
  return { ...rest, 'transformers.js_config': settings };
}
