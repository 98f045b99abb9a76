import { int8, parseScheme, perGroup, type Quantizer, type Scheme, SchemeError, scheme } from '@q/core';
import type { Rule } from '../recipe.js';
import type { Setting, Settings } from './read-recipe.js';
import type { Vocabulary } from './vocabulary.js';

/**
 * Scheme of tables of positions. They have few rows, and every sequence reads them, so they get 8 bits if the table of
 * tokens is quantized, at any number of bits.
 */
const positionScheme = scheme({ format: int8, granularity: perGroup(32) });

/** The value of `embeddings` and `head` with which a budget chooses. */
export const byBudget = 'auto';

/** What the rules of tables are made with. */
export interface TableChoices {
  readonly vocabulary: Vocabulary;
  /** The quantizer that rounds heads by their inputs, if the run's method has one. */
  readonly calibrated?: Quantizer;
  /** The choices of a budget; absent without one. */
  readonly budget?: { readonly candidates: readonly Scheme[]; readonly keepable: boolean };
}

/**
 * Rules for the modules outside of the blocks, from the options `embeddings` and `head`. The rule of the head also
 * matches the table to which the head is tied.
 * @throws SchemeError when a format is not known, no method of the vocabulary rounds tables, or `auto` stands without a
 *   budget
 */
export function tableRules(settings: Settings, choices: TableChoices): readonly Rule[] {
  const [embeddings, head] = [settings.get('embeddings'), settings.get('head')];
  const rules: Rule[] = [];
  if (embeddings) {
    const rule = { name: `${embeddings.shown} ${embeddings.value}`, match: '*', only: ['embedding'] as const };
    const found = resolve(embeddings, choices);
    rules.push(found ? { ...rule, ...found } : { ...rule, keep: true });
    if (found)
      rules.push({
        name: `${embeddings.shown}, positions`,
        match: '*',
        only: ['position'],
        quantizer: found.quantizer,
        scheme: positionScheme,
      });
  }
  if (head) {
    const rule = { name: `${head.shown} ${head.value}`, match: '*', only: ['head'] as const };
    rules.push({ ...rule, ...(resolve(head, choices) ?? { keep: true }) });
  }
  return rules;
}

/** Undefined for `keep`. */
function resolve(
  { shown, value }: Setting,
  { vocabulary, calibrated, budget }: TableChoices,
): (Pick<Rule, 'head' | 'scheme' | 'candidates' | 'keepable'> & { readonly quantizer: Quantizer }) | undefined {
  if (value === 'keep') return undefined;
  const method = vocabulary.methods.find(({ tables }) => tables !== undefined);
  if (!method?.tables) throw new SchemeError(`${shown}: no known method rounds tables of embeddings (rtn does)`);
  const quantizer = method.tables();
  if (value === byBudget) {
    if (!budget)
      throw new SchemeError(`${shown} ${value}: a budget chooses the scheme: give --budget or --max-bytes too`);
    return { quantizer, ...(calibrated ? { head: calibrated } : {}), ...budget };
  }
  try {
    const scheme = parseScheme(value, vocabulary);
    // A scheme that the method refuses, such as one with a scale for several rows, is rounded like a table.
    const takes = calibrated && calibrated.refuse?.(scheme, []) === undefined;
    return { quantizer, ...(takes ? { head: calibrated } : {}), scheme };
  } catch (error) {
    throw new SchemeError(`${shown} ${(error as Error).message}, ${byBudget} or keep`);
  }
}
