import { type Method, type OptionRecord, pickOptions } from '@q/core';
import type { Vocabulary } from './vocabulary.js';

/** The base of a method: the method whose quantizer rounds its weights. Undefined for a method without a base. */
export function baseOf(method: Method, { methods }: Pick<Vocabulary, 'methods'>): Method | undefined {
  return method.base && methods.find(({ name }) => name === method.base?.method);
}

/** The options of a method's base that the method accepts too. */
export function baseOptions(method: Method, vocabulary: Pick<Vocabulary, 'methods'>): OptionRecord {
  const base = baseOf(method, vocabulary);
  if (!base) return {};
  return pickOptions(base.options as OptionRecord, ...(method.base?.options ?? Object.keys(base.options)));
}

/** All options of a method that a recipe can name: those of its base, then its own. */
export function methodOptions(method: Method, vocabulary: Pick<Vocabulary, 'methods'>): OptionRecord {
  const all = { ...baseOptions(method, vocabulary), ...(method.options as OptionRecord) };
  return Object.fromEntries(Object.entries(all).filter(([, option]) => option.named));
}
