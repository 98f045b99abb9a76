/** Inputs of a linear in 8-bit integers: `x[t,j] = codes[t,j] * scales[t]`. */
export interface Int8Input {
  readonly tokens: number;
  readonly width: number;
  /** `[tokens, width]` */
  readonly codes: Int8Array;
  /** `[tokens]`, or `[1]` when all tokens share one. */
  readonly scales: Float32Array;
}

/** A weight for integer products: `w[o,i] = codes[o,i] * scales[o]`. */
export interface Int8Weight {
  readonly outFeatures: number;
  readonly inFeatures: number;
  /** `[out, in]` */
  readonly codes: Int8Array;
  /** `[out]`, or `[1]` when the whole weight shares one. */
  readonly scales: Float32Array;
}
