import {
  type ActivationScheme,
  FormatError,
  f32Scale,
  int8,
  scheme as makeScheme,
  perTensor,
  perToken,
  type Scheme,
} from '@q/core';
import type { QuantizedModule } from '../layout.js';
import { outsidePattern } from '../outside-pattern.js';

/** `QuantizationArgs` of compressed-tensors (formats.md 4.1); unknown keys are an error there, so these are all. */
interface QuantizationArgs {
  readonly num_bits: number;
  readonly type: 'int';
  readonly symmetric: boolean;
  readonly strategy: 'tensor' | 'channel' | 'token';
  readonly dynamic: boolean;
}

export interface ConfigGroup {
  readonly targets: readonly string[];
  readonly weights: QuantizationArgs;
  readonly input_activations: QuantizationArgs | null;
  readonly output_activations: null;
}

const args = ({ granularity, dynamic = false }: Scheme): QuantizationArgs => ({
  num_bits: 8,
  type: 'int',
  symmetric: true,
  strategy: granularity.kind as QuantizationArgs['strategy'],
  dynamic,
});

/** One group a distinct pair of schemes. A single one targets all linears, several name their modules. */
export function configGroups(modules: readonly QuantizedModule[]): Record<string, ConfigGroup> {
  const groups = new Map<string, { names: string[]; weights: QuantizationArgs; inputs: QuantizationArgs | null }>();
  for (const { linear, scheme, activation } of modules) {
    const weights = args(scheme);
    const inputs = activation ? args(activation.scheme) : null;
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

/** A group as a foreign file may have it. */
interface ReadGroup {
  readonly targets?: readonly string[];
  readonly input_activations?: Partial<Record<keyof QuantizationArgs, unknown>> | null;
}

/** How a module's inputs are quantized, its static scale left out; nothing for weights alone. */
export function inputSchemeOf(
  config: Readonly<Record<string, unknown>>,
  module: string,
): Pick<ActivationScheme, 'scheme'> | undefined {
  const listed = config.config_groups ?? {};
  if (typeof listed !== 'object')
    throw new FormatError(`quantization_config: config_groups is ${JSON.stringify(listed)}; an object was expected`);
  const groups = Object.values(listed as Record<string, ReadGroup | null>).filter((group) => group !== null);
  const group =
    groups.find(({ targets }) => Array.isArray(targets) && targets.some((target) => matches(target, module))) ??
    groups.find(({ targets }) => Array.isArray(targets) && targets.includes('Linear'));
  const inputs = group?.input_activations;
  if (!inputs) return undefined;
  const { num_bits: bits = 8, type = 'int', symmetric = true, strategy, dynamic = false } = inputs;
  if (bits !== 8 || type !== 'int' || symmetric !== true || (strategy !== 'token' && strategy !== 'tensor')) {
    throw new FormatError(
      `${module}: inputs of ${bits} bits, ${type}, ${symmetric ? '' : 'a'}symmetric, per ${strategy} cannot be run; symmetric int8 per token or tensor can`,
    );
  }
  return {
    scheme: makeScheme({
      format: int8,
      granularity: strategy === 'token' ? perToken : perTensor,
      scaleStorage: f32Scale,
      dynamic: dynamic === true,
    }),
  };
}

/** Exact names, or `re:` with an expression that is anchored at the start (formats.md 4.1). */
function matches(target: unknown, module: string): boolean {
  if (typeof target !== 'string') return false;
  return target.startsWith('re:')
    ? outsidePattern(target.slice(3), 'quantization_config: targets')(module)
    : target === module;
}
