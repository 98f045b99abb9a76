export { type AwqOptions, awq, awqMethod, awqStep } from './awq.js';
export { type ClipInputs, type ClippedWeight, clipWeight } from './clip.js';
export { roundScaled } from './objective.js';
export { type ScaleError, type ScaleSearch, scalesOfRatio, searchScales } from './search-scales.js';
