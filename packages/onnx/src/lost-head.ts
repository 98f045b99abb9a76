import { type Checkpoint, unreadHead } from '@q/checkpoint';
import { SchemeError } from '@q/core';
import type { SentenceModules } from '@q/models';

/**
 * Says which head of an encoder a graph does not have. A sentence-transformers folder is read for its vectors, so only
 * a note names its head.
 * @returns a note, or undefined if nothing is lost
 * @throws SchemeError when config.json states the head: readers of the written folder would look for its outputs
 */
export function lostHead(checkpoint: Checkpoint, sentence: SentenceModules | undefined): string | undefined {
  const head = unreadHead(checkpoint);
  if (!head) return undefined;
  const { stated, names } = head;
  if (stated === undefined || sentence)
    return `the head ${names} is not written: the file gives ${sentence ? 'hidden states and sentence embeddings' : 'hidden states'} alone`;
  const base = stated.replace(/For[A-Z].*$/, 'Model');
  throw new SchemeError(
    `${checkpoint.path}: config.json states ${stated}, and its head (${names}) has no place in the ONNX file: an encoder is written with its hidden states, or with the logits of a classifier of sequences or tokens. To write the hidden states without the head, copy the folder and set "architectures": ["${base}"] in its config.json`,
  );
}
