export { attentionHeads } from './attention';
export { encodeQ4_K, encodeQ5_K } from './block-affine';
export { encodeQ4_0, encodeQ8_0 } from './block-plain';
export { encodeQ6_K } from './block-signed';
export { attentionGradientHeads } from './attention-gradient';
export { factorBlock, solveBelow, subtractEarlier, takeColumns, unpackRows } from './cholesky';
export { blockGradient, descendPanels, differences, packCodes, packSquare, scaleSteps } from './descent';
export { descendOutputs, mixChanges, mixOutputs, rowProducts, turnPanels } from './output-descent';
export { combineRows, mapGradient, mapVectors } from './elementwise';
export { packFactor, packRows, errorPanels, sweepPanels, unpackCodes, unpackColumns } from './gptq-sweep';
export { squaredErrors } from './grid-errors';
export { levelGroups } from './grid-levels';
export { groupExtremes, roundGroups } from './grid-round';
export { shrinkGroups } from './grid-shrink';
export { sweepBytes, sweepGroups } from './grid-sweep';
export { gramTile } from './gram';
export { decodeHalves } from './half';
export { halfPanels, halfVector } from './half-products';
export { hadamardRows } from './hadamard';
export { kvAttention } from './kv-attention';
export { crossEntropyRows, divergenceRows } from './losses';
export { matmulTile, packA, packB } from './matmul';
export { int8Rows, widen } from './matmul-int8';
export { normRows, softmaxRows } from './norm';
export { normGradientRows, softmaxGradientRows, sumColumns } from './norm-gradient';
export { arrangeBytes, arrangeFloats } from './packed-inputs';
// Written by scripts/packed-products.mjs.
export {
  packedInt8Panels2,
  packedInt8Panels4,
  packedInt8Vector2x1,
  packedInt8Vector2x4,
  packedInt8Vector4x1,
  packedInt8Vector4x4,
  packedPanels2,
  packedPanels4,
  packedPanels8,
  packedVector2x1,
  packedVector2x4,
  packedVector4x1,
  packedVector4x4,
  packedVector8x1,
  packedVector8x4,
} from './packed-products';
export { packRowsOfWords } from './pack-words';
export { rotaryRows } from './rotary';
export { scoreRows } from './score-logits';
export { solveRows64 } from './triangular-solve';
