/** A matrix of 16-bit values that is read some rows at a time, so that nobody holds it twice. */
export interface HalfMatrix {
  readonly dtype: 'f16' | 'bf16';
  /** `[out, in]` */
  readonly shape: readonly [number, number];
  /** Bit patterns of rows `[first, end)`, `[end - first, in]`. They hold until the next call. */
  rows(first: number, end: number): Promise<Uint16Array>;
}
