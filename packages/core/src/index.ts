export * from './activations/activation-fit.js';
export * from './activations/describe-activation.js';
export * from './activations/fp8-input.js';
export * from './activations/input-schemes.js';
export * from './activations/int8-input.js';
export * from './activations/quantize-activations.js';
export * from './activations/static-input-scale.js';
export * from './all-finite.js';
export * from './context.js';
export * from './contracts/activation-scheme.js';
export * from './contracts/adapter.js';
export * from './contracts/block-kernels.js';
export * from './contracts/context.js';
export * from './contracts/descent.js';
export * from './contracts/dtype.js';
export * from './contracts/errors.js';
export * from './contracts/granularity.js';
export * from './contracts/grid-kernels.js';
export * from './contracts/half-matrix.js';
export * from './contracts/int8-product.js';
export * from './contracts/kernels.js';
export * from './contracts/kv-attention.js';
export * from './contracts/method.js';
export * from './contracts/model.js';
export * from './contracts/number-format.js';
export * from './contracts/ops.js';
export * from './contracts/option.js';
export * from './contracts/packed-products.js';
export * from './contracts/profile.js';
export * from './contracts/quantized-tensor.js';
export * from './contracts/quantizer.js';
export * from './contracts/runtime.js';
export * from './contracts/scale-fit.js';
export * from './contracts/scheme.js';
export * from './contracts/statistic.js';
export * from './contracts/stream-kernels.js';
export * from './contracts/tensor.js';
export * from './contracts/training-group.js';
export * from './contracts/transform.js';
export * from './contracts/tuner.js';
export * from './dequantize.js';
export * from './dtypes/convert.js';
export * from './dtypes/dtype.js';
export * from './dtypes/half.js';
export * from './dtypes/round.js';
export * from './edges/fold-edge.js';
export * from './edges/selected-rows.js';
export { type AbsMaxOptions, absMax, type SymmetricRange } from './fit/abs-max.js';
export { declaredFits, fitOption } from './fit/declared-fits.js';
export { type HalfQuadraticOptions, halfQuadratic, halfQuadraticOptions } from './fit/half-quadratic.js';
export * from './fit/least-squares-support.js';
export * from './fit/mean-abs.js';
export * from './fit/min-max.js';
export { type MseSearchOptions, mseSearch } from './fit/mse-search.js';
export { percentile } from './fit/percentile.js';
export * from './fit/shared-exponent.js';
export { type WeightedSearchOptions, weightedSearch } from './fit/weighted-search.js';
export { type FittedScales, fitScales } from './fit-scales.js';
export * from './formats/builtin.js';
export * from './formats/codebook.js';
export * from './formats/e8m0.js';
export * from './formats/linear.js';
export {
  bf16,
  e2m1,
  e2m3,
  e3m2,
  e4m3,
  e5m2,
  fp16,
  type Minifloat,
  minifloat,
  minifloats,
  type Specials,
} from './formats/minifloat.js';
export * from './formats/scaled-integer.js';
export {
  binary,
  binary01,
  bnbFp4,
  nf4,
  normalFloatLevels,
  powerOfTwo,
  type TableFormat,
  tableFormat,
  ternary,
} from './formats/table.js';
export * from './kernels/bitwise-matmul.js';
export { eagerGrams } from './kernels/eager-grams.js';
export * from './kernels/fallback-kernels.js';
export * from './kernels/kv-attention.js';
export * from './kernels/packed-products.js';
export { plainBlocks } from './kernels/plain-blocks.js';
export { plainGrids } from './kernels/plain-grids.js';
export { plainStream } from './kernels/plain-stream.js';
export * from './kernels/reference.js';
export * from './kernels/score-logits.js';
export { checkOptions, pickOptions, unknownOption } from './options/check-options.js';
export { closest } from './options/closest.js';
export { boolean, choice, choiceOf, codeOnly, integer, list, named, number, text } from './options/option.js';
export { awqOrder } from './packing/awq-order.js';
export { gptqPlanar } from './packing/gptq-planar.js';
export { highNibbleFirst } from './packing/high-nibble-first.js';
export { lsbFirst } from './packing/lsb-first.js';
export type { Packing } from './packing/packing.js';
export { bitPlanes } from './packing/planes.js';
export { trits } from './packing/trits.js';
export * from './packing/words.js';
export * from './permute-columns.js';
export { countedEngine, countedKernels } from './profile/counted-kernels.js';
export * from './profile/profile.js';
export { type QuantizeOptions, quantize } from './quantize.js';
export * from './random.js';
export * from './schemes/double-quantized-scale.js';
export * from './schemes/granularity.js';
export * from './schemes/named-schemes.js';
export * from './schemes/parse-scheme.js';
export * from './schemes/presets.js';
export * from './schemes/scale-storage.js';
export * from './schemes/scheme.js';
export * from './schemes/scheme-json.js';
export * from './schemes/shared-exponent-scale.js';
export * from './schemes/static-cache.js';
export * from './schemes/two-level-scale.js';
export { type HessianState, hessian, hessianF32 } from './statistics/hessian.js';
export * from './statistics/histogram.js';
export * from './statistics/input-shift.js';
export * from './statistics/moving-average-range.js';
export { type OutputMomentsState, outputMoments, outputMomentsMatrix } from './statistics/output-moments.js';
export * from './statistics/per-feature.js';
export * from './statistics/residual-cross.js';
export * from './statistics/token-frequencies.js';
export * from './statistics/token-sample.js';
export * from './tensor.js';
export * from './yield-to-event-loop.js';
