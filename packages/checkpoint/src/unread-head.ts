import type { Checkpoint } from './checkpoint.js';

/** A head in the files of an encoder that its description does not compute: of masked tokens, of answers. */
export interface UnreadHead {
  /** The class of config.json that has the head: `BertForMaskedLM`. Absent if config.json states the model alone. */
  readonly stated?: string;
  readonly tensors: readonly string[];
  /** The tensors for messages, weights first, of which the first four are named. */
  readonly names: string;
}

/** Tensors of old files that hold the numbers 0, 1, 2 and so on, or zeros. */
const constants = /(?:^|\.)(?:position_ids|token_type_ids)$/;

const mostNames = 4;

/**
 * Finds the head that is lost when an encoder is run, or written to a file, by its description. Undefined for a
 * language model and for a classifier, whose heads are described.
 */
export function unreadHead({
  model,
  config,
  tensors: all,
  quantizedModules,
}: Pick<Checkpoint, 'model' | 'config' | 'tensors' | 'quantizedModules'>): UnreadHead | undefined {
  if (!model || model.head || model.classifier || model.tokenClassifier) return undefined;
  const read = new Set([...[...model.expected.keys()].map(moduleOf), ...quantizedModules]);
  const tensors = [...all.keys()]
    .filter((name) => !read.has(moduleOf(name)) && !constants.test(name))
    .sort((a, b) => Number(isWeight(b)) - Number(isWeight(a)));
  if (tensors.length === 0) return undefined;
  const { architectures = [] } = config as { architectures?: unknown };
  const stated = [architectures].flat().find((name) => typeof name === 'string' && /For[A-Z]/.test(name));
  const more = tensors.length - mostNames;
  const names = `${tensors.slice(0, mostNames).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
  return { ...(stated === undefined ? {} : { stated: stated as string }), tensors, names };
}

const isWeight = (tensor: string): boolean => tensor.endsWith('.weight');
const moduleOf = (tensor: string): string => tensor.replace(/\.[^.]*$/, '');
