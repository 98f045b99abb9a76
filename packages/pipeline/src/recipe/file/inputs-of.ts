import type { LayoutDeclaration } from '@q/checkpoint';
import { type ActivationScheme, inputSchemes, refuseFp8Input, SchemeError } from '@q/core';
import type { Settings } from './read-recipe.js';

/**
 * The scheme of the inputs, from the settings or from the layout's own defaults; nothing when only weights are
 * quantized.
 * @param defaults of the layout, if it has some
 * @throws SchemeError for a bound without a dynamic FP8 scheme
 */
export function inputsOf(
  settings: Settings,
  defaults: LayoutDeclaration['defaults'],
): { readonly activation?: ActivationScheme } {
  const name = settings.get('inputs')?.value ?? defaults?.inputs;
  const given = settings.get('inputBound');
  const found = inputSchemes.find((each) => each.name === name);
  if (!found) {
    if (given)
      throw new SchemeError(`${given.shown} ${given.value}: limits the scales of inputs: give --inputs fp8-row too`);
    return {};
  }
  const bound = (given?.value ?? (settings.has('inputs') ? undefined : defaults?.inputBound)) as number | undefined;
  const activation = { scheme: found.scheme, ...(bound === undefined ? {} : { bound }) };
  const refusal = bound === undefined ? undefined : refuseFp8Input(activation);
  if (refusal) throw new SchemeError(`${given?.shown} ${bound}: ${refusal}`);
  return { activation };
}
