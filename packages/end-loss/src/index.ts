export { type LabelSource, sampleLabels } from './labels.js';
export {
  type EndGradients,
  type OutputGradient,
  type OutputGradientsOptions,
  outputGradients,
} from './output-gradients.js';
export {
  type EndLoss,
  endLossStatistics,
  type SolverWeightsOptions,
  solverWeights,
  type TokenWeights,
  tokenWeights,
} from './token-weights.js';
