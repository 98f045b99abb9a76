import { type ActivationScheme, FormatError, type NumberFormat, SchemeError, type Tensor, tensor } from '@q/core';
import type { PlannedTensor } from '@q/safetensors';
import type { QuantizedModule, TensorLookup } from '../layout.js';
import { readScales } from '../stored-values.js';
import { inputSchemeOf } from './config.js';

const isStatic = ({ activation }: QuantizedModule) => activation !== undefined && !activation.scheme.dynamic;

/** The tensor with the static scale of a module's inputs; none when they have dynamic scales or are not quantized. */
export const plannedInputScale = (module: QuantizedModule): readonly PlannedTensor[] =>
  isStatic(module) ? [{ name: `${module.linear.module}.input_scale`, dtype: 'F32', shape: [1] }] : [];

/**
 * Its content.
 * @throws SchemeError when the scale was not calibrated
 */
export function inputScaleTensors(module: QuantizedModule): readonly (readonly [name: string, Tensor])[] {
  if (!isStatic(module)) return [];
  const name = module.linear.module;
  const scale = module.activation?.scale;
  if (scale === undefined) throw new SchemeError(`${name}: its static input scale was not calibrated`);
  return [[`${name}.input_scale`, tensor('f32', [1], Float32Array.of(scale))]];
}

/** A module whose inputs a layout reads. */
export interface ReadInputs {
  readonly module: string;
  /** Format of the layout's inputs, of 8 bits. */
  readonly format: NumberFormat;
  /** The reason why inputs of a scheme cannot be run, or undefined. */
  readonly refuse: (activation: ActivationScheme) => string | undefined;
}

/**
 * The quantization of a module's inputs as the config has it, with its static scale; undefined when only the weight is
 * quantized.
 * @throws FormatError when inputs of this scheme cannot be run, or a static scale is absent
 */
export async function readInputs(
  config: Readonly<Record<string, unknown>>,
  { module, format, refuse }: ReadInputs,
  tensors: TensorLookup,
): Promise<ActivationScheme | undefined> {
  const inputs = inputSchemeOf(config, module, format);
  if (!inputs || inputs.scheme.dynamic) return inputs;
  if (!tensors.has(`${module}.input_scale`))
    throw new FormatError(`${module}.input_scale: is absent; config.json says that its inputs have a static scale`);
  const { values } = await readScales(tensors, `${module}.input_scale`, [[1], []]);
  const activation = { ...inputs, scale: values[0] };
  const refusal = refuse(activation);
  if (refusal) throw new FormatError(`${module}.input_scale: ${refusal}`);
  return activation;
}
