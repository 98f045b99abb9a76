import {
  type ActivationScheme,
  FormatError,
  f32Scale,
  scheme as makeScheme,
  type NumberFormat,
  perTensor,
  perToken,
  type Scheme,
} from '@q/core';
import { keptHead } from '../kept-head.js';
import type { LayoutRecord, QuantizedModule } from '../layout.js';
import { outsidePattern } from '../outside-pattern.js';
import { shownValue } from '../shown-value.js';

/**
 * `QuantizationArgs` of compressed-tensors (docs/reference/file-formats.md#config-of-compressed-tensors). Unknown keys
 * are an error there, so this list is complete.
 */
export interface QuantizationArgs {
  readonly num_bits: number;
  readonly type: 'int' | 'float';
  readonly symmetric: boolean;
  readonly strategy: 'tensor' | 'channel' | 'token' | 'group' | 'block';
  readonly dynamic: boolean;
  readonly group_size?: number;
  readonly block_structure?: readonly number[];
}

export interface ConfigGroup {
  readonly targets: readonly string[];
  readonly weights: QuantizationArgs;
  readonly input_activations: QuantizationArgs | null;
  readonly output_activations: null;
}

/** A scheme in the form of the library. */
export const quantizationArgs = ({ format, granularity, zeroPoint, dynamic = false }: Scheme): QuantizationArgs => ({
  num_bits: format.bits,
  type: format.family === 'float' ? 'float' : 'int',
  symmetric: zeroPoint === 'none',
  strategy: granularity.kind as QuantizationArgs['strategy'],
  dynamic,
  ...(granularity.kind === 'group' ? { group_size: granularity.size } : {}),
  ...(granularity.kind === 'block' ? { block_structure: [granularity.rows, granularity.columns] } : {}),
});

/**
 * One group for each distinct pair of schemes. A single group targets all linears; several groups name their modules.
 */
function configGroups(modules: readonly QuantizedModule[]): Record<string, ConfigGroup> {
  const groups = new Map<string, { names: string[]; weights: QuantizationArgs; inputs: QuantizationArgs | null }>();
  for (const { linear, scheme, activation } of modules) {
    const weights = quantizationArgs(scheme);
    const inputs = activation ? quantizationArgs(activation.scheme) : null;
    const key = JSON.stringify([weights, inputs]);
    const group = groups.get(key) ?? { names: [], weights, inputs };
    group.names.push(linear.module);
    groups.set(key, group);
  }
  return Object.fromEntries(
    [...groups.values()].map(({ names, weights, inputs }, index) => [
      `group_${index}`,
      {
        targets: groups.size === 1 ? ['Linear'] : names,
        weights,
        input_activations: inputs,
        output_activations: null,
      },
    ]),
  );
}

/**
 * `quantization_config` of a folder with tensors in the form of `format`; there are no further files.
 * @param kept modules that stay as they were
 */
export function compressedConfig(
  format: 'pack-quantized' | 'int-quantized' | 'float-quantized',
  modules: readonly QuantizedModule[],
  kept: readonly string[],
  record: LayoutRecord,
) {
  return {
    config: {
      quant_method: 'compressed-tensors',
      format,
      quantization_status: 'compressed',
      config_groups: configGroups(modules),
      ignore: [...keptHead(modules, record), ...kept],
      kv_cache_scheme: record.cache ? quantizationArgs(record.cache) : null,
    },
    files: new Map<string, string>(),
  };
}

/**
 * The plan's warning for models that transformers builds with Conv1D (GPT-2), which compressed-tensors ignores;
 * undefined for linears.
 */
export const cautionConv1d = ({ linear }: QuantizedModule): string | undefined =>
  linear.transposed
    ? 'compressed-tensors supports only linears, and transformers builds this architecture with Conv1D: this toolkit runs the folder, transformers does not'
    : undefined;

/** Arguments in another tool's file. */
export type ReadArgs = Partial<Record<keyof QuantizationArgs, unknown>>;

/** A group in another tool's file. */
export interface ReadGroup {
  readonly targets?: readonly string[];
  readonly weights?: ReadArgs | null;
  readonly input_activations?: ReadArgs | null;
}

/**
 * The group of a module: by its name, by an expression, else by the class of all linears; undefined when none matches.
 * @throws FormatError when config_groups is not an object
 */
export function groupOf(config: Readonly<Record<string, unknown>>, module: string): ReadGroup | undefined {
  const listed = config.config_groups ?? {};
  if (typeof listed !== 'object')
    throw new FormatError(`quantization_config: config_groups is ${JSON.stringify(listed)}; an object was expected`);
  const groups = Object.values(listed as Record<string, ReadGroup | null>).filter((group) => group !== null);
  return (
    groups.find(({ targets }) => Array.isArray(targets) && targets.some((target) => matches(target, module))) ??
    groups.find(({ targets }) => Array.isArray(targets) && targets.includes('Linear'))
  );
}

/**
 * The quantization of a module's inputs, without a static scale; undefined when only the weight is quantized.
 * @param format of 8 bits, of the layout that reads
 */
export function inputSchemeOf(
  config: Readonly<Record<string, unknown>>,
  module: string,
  format: NumberFormat,
): Pick<ActivationScheme, 'scheme'> | undefined {
  const inputs = groupOf(config, module)?.input_activations;
  if (!inputs) return undefined;
  const { num_bits: bits = 8, type = 'int', symmetric = true, strategy, dynamic = false } = inputs;
  const own = format.family === 'float' ? 'float' : 'int';
  if (bits !== 8 || type !== own || symmetric !== true || (strategy !== 'token' && strategy !== 'tensor')) {
    throw new FormatError(
      `${module}: inputs of ${shownValue(bits)} bits, ${shownValue(type)}, ${symmetric ? '' : 'a'}symmetric, per ${shownValue(strategy)} cannot be run; symmetric ${format.name} per token or tensor can`,
    );
  }
  return {
    scheme: makeScheme({
      format,
      granularity: strategy === 'token' ? perToken : perTensor,
      scaleStorage: f32Scale,
      dynamic: dynamic === true,
    }),
  };
}

/**
 * Exact names, or `re:` with an expression that is anchored at the start
 * (docs/reference/file-formats.md#config-of-compressed-tensors).
 */
function matches(target: unknown, module: string): boolean {
  if (typeof target !== 'string') return false;
  return target.startsWith('re:')
    ? outsidePattern(target.slice(3), 'quantization_config: targets')(module)
    : target === module;
}
