import { join } from 'node:path';
import {
  FormatError,
  type LowRankAdapter,
  type LowRankPair,
  type ModelDescription,
  SchemeError,
  type Tensor,
  tensor,
  toF32,
} from '@q/core';
import { type FileOptions, writeFileDurably } from '@q/durable-files';
import { type ModelFolder, modelFolder, readSafetensorsFile, writeSafetensorsFile } from '@q/safetensors';
import { parseJsonObject } from '../json-text.js';
import { shownValue } from '../shown-value.js';
import { statedNumber } from '../stated-number.js';

/** File names of an adapter of the Python library PEFT. */
export const adapterConfigName = 'adapter_config.json';
export const adapterWeightsName = 'adapter_model.safetensors';

/** PEFT wraps the causal language model twice. */
const prefix = 'base_model.model.';
const factorDtypes: readonly Tensor['dtype'][] = ['f32', 'f16', 'bf16', 'f64'];
const factorName = /^base_model\.model\.(.+)\.lora_([AB])\.weight$/;

/**
 * Writes an adapter that `PeftModel.from_pretrained` loads: `adapter_model.safetensors` in f32, and
 * `adapter_config.json` last.
 * @param folder an existing folder
 * @throws SchemeError for models that were published without their head: PEFT would look for other names
 */
export async function writeAdapter(
  folder: string,
  adapter: LowRankAdapter,
  model: ModelDescription,
  baseModel: string,
  options: FileOptions = {},
): Promise<readonly string[]> {
  if (model.headless)
    throw new SchemeError(
      'this model was published without its head: adapters name linears as the whole causal language model does',
    );
  const { rank, alpha, dropout, modules } = adapter;
  const tensors = new Map<string, Tensor>();
  for (const [module, { a, b }] of modules)
    tensors.set(`${prefix}${module}.lora_A.weight`, a).set(`${prefix}${module}.lora_B.weight`, b);
  const linears = model.blocks.flatMap((block) => block.linears);
  const config = {
    peft_type: 'LORA',
    task_type: 'CAUSAL_LM',
    base_model_name_or_path: baseModel,
    r: rank,
    lora_alpha: alpha,
    lora_dropout: dropout,
    bias: 'none',
    target_modules: targetModules(
      [...modules.keys()],
      linears.map(({ module }) => module),
    ),
    // Weights that the file stores [in, out] (Conv1D).
    fan_in_fan_out: linears.some(({ module, transposed }) => transposed && modules.has(module)),
    inference_mode: true,
    modules_to_save: null,
  };
  await writeSafetensorsFile(join(folder, adapterWeightsName), tensors, options);
  await writeFileDurably(join(folder, adapterConfigName), `${JSON.stringify(config, null, 2)}\n`, options);
  return [adapterConfigName, adapterWeightsName];
}

/**
 * Whether an adapter with this initialization belongs to the base model's original weights. PiSSA, OLoRA, LoftQ, CorDA
 * and LoRA-GA subtract a part from the weights, or quantize them, before training. An unknown initialization may do so
 * too.
 */
const keepsBase = (initialized: unknown): boolean =>
  typeof initialized === 'boolean' || ['gaussian', 'eva', 'orthogonal'].includes(shownValue(initialized).toLowerCase());

/** Last parts of the names if these identify the linears, else whole names. */
function targetModules(modules: readonly string[], all: readonly string[]): readonly string[] {
  const last = (module: string) => module.slice(module.lastIndexOf('.') + 1);
  const names = new Set(modules.map(last));
  const meant = all.filter((module) => names.has(last(module)));
  return meant.length === modules.length ? [...names].sort() : [...modules].sort();
}

/**
 * Reads an adapter of PEFT.
 * @param from path of its folder on the disk, or its files elsewhere
 * @throws FormatError naming the file and the setting that is not supported or missing
 */
export async function readAdapter(from: string | ModelFolder): Promise<LowRankAdapter> {
  const folder = typeof from === 'string' ? modelFolder(from) : from;
  const path = folder.where(adapterConfigName);
  const text = await folder.text(adapterConfigName).catch((error) => {
    throw new FormatError(
      `${path}: cannot be read (${error.code ?? error.message}); an adapter folder of PEFT was expected`,
    );
  });
  const config = parseJsonObject(text, path).values;
  const refuse = (what: string): never => {
    throw new FormatError(`${path}: ${what} is not supported: only low-rank factors of linears are (peft_type LORA)`);
  };
  if (config.peft_type !== 'LORA') refuse(`peft_type ${JSON.stringify(config.peft_type)}`);
  for (const key of ['use_dora', 'use_rslora', 'lora_bias', 'use_qalora', 'use_bdlora'] as const)
    if (config[key]) refuse(key);
  for (const key of [
    'rank_pattern',
    'alpha_pattern',
    'layer_replication',
    'modules_to_save',
    'target_parameters',
    'trainable_token_indices',
  ] as const)
    if (Object.keys((config[key] as object | null) ?? {}).length > 0) refuse(key);
  const initialized = config.init_lora_weights ?? true;
  if (!keepsBase(initialized))
    throw new FormatError(
      `${path}: init_lora_weights ${JSON.stringify(initialized)} changed the base model when the training began: its factors belong to those other weights. In PEFT, save it with path_initial_model_for_weight_conversion, which makes an adapter of the original model`,
    );
  if ((config.bias ?? 'none') !== 'none') refuse(`bias ${JSON.stringify(config.bias)}`);
  const { r: rank, lora_alpha: alpha, lora_dropout } = config;
  const dropout = statedNumber(lora_dropout ?? 0);
  if (!(Number.isInteger(rank) && (rank as number) > 0 && Number.isFinite(alpha)))
    throw new FormatError(
      `${path}: r and lora_alpha are ${shownValue(rank)} and ${shownValue(alpha)}; a rank and a number were expected`,
    );
  if (!(dropout >= 0 && dropout < 1))
    throw new FormatError(
      `${path}: lora_dropout is ${shownValue(lora_dropout)}; a number from 0 to below 1 was expected`,
    );
  const file = folder.where(adapterWeightsName);
  const found = new Map<string, { a?: Tensor<'f32'>; b?: Tensor<'f32'> }>();
  for (const [name, stored] of await readSafetensorsFile(await folder.open(adapterWeightsName))) {
    const [, module, which] = factorName.exec(name) ?? [];
    if (!module) throw new FormatError(`${file}: ${name} is not a factor of a linear: it is not supported`);
    if (!factorDtypes.includes(stored.dtype) || stored.shape.length !== 2)
      throw new FormatError(
        `${file}: ${name} is ${stored.dtype} [${stored.shape}]; a matrix of ${factorDtypes.join(', ')} was expected`,
      );
    const factor = tensor('f32', stored.shape, toF32(stored));
    const bad = factor.data.findIndex((value) => !Number.isFinite(value));
    if (bad >= 0) throw new FormatError(`${file}: ${name} holds ${factor.data[bad]} at element ${bad}`);
    found.set(module, { ...found.get(module), [which.toLowerCase()]: factor });
  }
  const modules = new Map<string, LowRankPair>();
  for (const [module, { a, b }] of found) {
    if (!a || !b) throw new FormatError(`${file}: ${module} has lora_${a ? 'A' : 'B'} and not lora_${a ? 'B' : 'A'}`);
    if (a.shape[0] !== rank || b.shape[1] !== rank)
      throw new FormatError(
        `${file}: the factors of ${module} are [${a.shape}] and [${b.shape}]; rank ${rank} was expected (${adapterConfigName})`,
      );
    modules.set(module, { a, b });
  }
  if (modules.size === 0) throw new FormatError(`${file}: has no factors`);
  return { rank: rank as number, alpha: alpha as number, dropout, modules };
}
