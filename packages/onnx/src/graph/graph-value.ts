import type { RotaryTable } from '@q/core';
import type { ElementType } from '../proto/element-type.js';

/** Sizes that are known at run time, with the names that runtimes expect for them in a graph's inputs. */
type SymbolicSize =
  | 'batch_size'
  | 'sequence_length'
  | 'past_sequence_length'
  | 'total_sequence_length'
  | 'tokens'
  | 'rows'
  /** Represents any number of axes. */
  | 'axes';

export type Size = number | SymbolicSize;

/** A value of the written graph: the output of a node, an input or an initializer. */
export interface GraphValue {
  /** A deferred node is written when its value's name is first read. */
  readonly name: string;
  readonly type: ElementType;
  readonly sizes: readonly Size[];
  /** A tensor of the checkpoint, by its name there. */
  readonly weight?: string;
  /** The value is `input` rotated by rotary positions: a runtime's attention may do the rotation itself. */
  readonly rotated?: { readonly input: GraphValue; readonly table: RotaryTable; readonly heads: number };
  /** This layer's keys or values before its attention. */
  readonly layer?: number;
  /** The real meaning of the value, if the pass computes with other sizes. */
  readonly meaning?: Meaning;
  /** The values are constant: a tensor of the checkpoint, or numbers of the architecture. */
  readonly constant?: () => Promise<Float32Array>;
}

type Meaning =
  /** A row for each token, while the pass has one row for all of them: segments. */
  | { readonly kind: 'each token' }
  /** A plane of pairs of tokens for each head, while the pass has a list of pairs. */
  | { readonly kind: 'each pair' }
  /** Weights that average over the tokens of a sequence. */
  | { readonly kind: 'average' }
  /** `of` `[batch, length, width]`, seen as `[batch, length * width]`. */
  | { readonly kind: 'flattened'; readonly of: GraphValue };
