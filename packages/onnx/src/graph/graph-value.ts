import type { RotaryTable } from '@q/core';
import type { ElementType } from '../proto/element-type.js';

/** Sizes that are known when the model runs, by the names that runtimes expect for them in a graph's inputs. */
type SymbolicSize =
  | 'batch_size'
  | 'sequence_length'
  | 'past_sequence_length'
  | 'total_sequence_length'
  | 'tokens'
  | 'rows'
  /** Stands for any number of axes. */
  | 'axes';

export type Size = number | SymbolicSize;

/** A value of the graph that is written: the output of a node, an input or an initializer. */
export interface GraphValue {
  /** The node that gives a value is written when its name is first asked for, where that is put off. */
  readonly name: string;
  readonly type: ElementType;
  readonly sizes: readonly Size[];
  /** A tensor of the checkpoint, by its name there. */
  readonly weight?: string;
  /** The value is `input` turned by rotary positions: a runtime's attention may do that itself. */
  readonly rotated?: { readonly input: GraphValue; readonly table: RotaryTable; readonly heads: number };
  /** Keys or values of this layer on their way into its attention. */
  readonly layer?: number;
  /** What the value stands for, where a pass takes it for something of other sizes. */
  readonly meaning?: Meaning;
  /** The values are known now: a tensor of the checkpoint, or numbers of the architecture. */
  readonly constant?: () => Promise<Float32Array>;
}

type Meaning =
  /** A row for each token, where the pass has one row for all of them: segments. */
  | { readonly kind: 'each token' }
  /** A plane of pairs of tokens for each head, where the pass has a list of pairs. */
  | { readonly kind: 'each pair' }
  /** Weights that average over the tokens of a sequence. */
  | { readonly kind: 'average' }
  /** `of` `[batch, length, width]`, seen as `[batch, length * width]`. */
  | { readonly kind: 'flattened'; readonly of: GraphValue };
