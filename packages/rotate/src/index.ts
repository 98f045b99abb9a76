export { type Factor, hadamardOrders, spreadingFactors } from './factors.js';
export * from './online.js';
export { paleyMatrix } from './paley.js';
export { type RotateOptions, rotate, rotateStep } from './rotate.js';
export {
  applyRotation,
  headRotation,
  keepOnes,
  type Rotation,
  randomRotation,
  repeatHeads,
  rotateRows,
} from './rotation.js';
