/** A file of the table, for the process that runs it. Paths are absolute. */
export interface Cell {
  readonly runtime: 'onnx' | 'gguf';
  readonly architecture: string;
  readonly type: string;
  readonly file: string;
  readonly ids: readonly number[];
  /** What our forward pass of the same codes gives: f32 logits `[tokens, width]`, or the vector of the text. */
  readonly reference: string;
  readonly encoder: boolean;
}

/** What became of a cell. */
export interface CellResult {
  readonly key: string;
  /** Nats of divergence of a decoder, one minus the cosine of an encoder. */
  readonly off?: number;
  /** Why there is no figure, in the words of whoever refused. */
  readonly reason?: string;
}

export const keyOf = ({ runtime, architecture, type }: Pick<Cell, 'runtime' | 'architecture' | 'type'>): string =>
  `${runtime} ${architecture} ${type}`;
