/** A file of the table, for the process that runs it. Paths are absolute. */
export interface Cell {
  readonly runtime: 'onnx' | 'gguf';
  readonly architecture: string;
  readonly type: string;
  readonly file: string;
  readonly ids: readonly number[];
  /**
   * File with the result of our forward pass of the same codes: f32 logits `[tokens, width]`, or the vector of the
   * text.
   */
  readonly reference: string;
  readonly encoder: boolean;
}

/** The result of a cell. */
export interface CellResult {
  readonly key: string;
  /** KL divergence of a decoder in nats, or one minus the cosine of an encoder. */
  readonly off?: number;
  /** The reason for a missing figure, in the words of the program that refused. */
  readonly reason?: string;
}

export const keyOf = ({ runtime, architecture, type }: Pick<Cell, 'runtime' | 'architecture' | 'type'>): string =>
  `${runtime} ${architecture} ${type}`;
