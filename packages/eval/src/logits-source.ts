/** A model as evaluation sees it: ids in, logits out, on the host. */
export interface LogitsSource {
  readonly vocabularySize: number;
  /** Ids `[batch, length]` -> logits `[batch, length, vocabularySize]`, f32. */
  logits(ids: Int32Array, batch: number, length: number): Promise<Float32Array>;
}
