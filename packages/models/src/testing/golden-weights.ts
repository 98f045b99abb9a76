import { fromF32, type ModelDescription, type Ops, type Tensor, type TensorStacks } from '@q/core';
import { loadWeights } from '../load-weights.js';

/**
 * The weights of tooling/figures/reference/transformers_logits.py: uniform in +-0.3 from the name and the index, near 1
 * for the gains of norms.
 */
export function goldenWeights<T>(
  ops: Ops<T>,
  model: ModelDescription,
  stacks?: TensorStacks | undefined,
): Promise<Map<string, T>> {
  return loadWeights(ops, model, async (name) => goldenTensor(name, model.expected.get(name)!, stacks));
}

/** One of them, in the file's order. If it is a slice of a tensor of the file, it has the values of that slice. */
export function goldenTensor(name: string, shape: readonly number[], stacks?: TensorStacks | undefined): Tensor {
  const count = shape.reduce((product, size) => product * size, 1);
  const place = stacks?.join?.(name);
  if (!place) return fromF32('f32', shape, weightValues(name, count));
  const begin = place.index * count;
  return fromF32('f32', shape, weightValues(place.stack, begin + count).slice(begin));
}

function weightValues(name: string, count: number): Float32Array {
  let seed = 2166136261;
  for (const byte of new TextEncoder().encode(name)) seed = Math.imul(seed ^ byte, 16777619) >>> 0;
  const [module, kind] = name.split('.').slice(-2) as [string, string];
  const centre = kind === 'weight' && (module.includes('norm') || module.startsWith('ln_')) ? 1 : 0;
  return Float32Array.from({ length: count }, (_, i) => {
    let bits = (seed + Math.imul(i, 0x9e3779b9)) >>> 0;
    bits ^= bits >>> 16;
    bits = Math.imul(bits, 0x85ebca6b) >>> 0;
    bits = (bits ^ (bits >>> 13)) >>> 0;
    return (bits / 2 ** 32 - 0.5) * 0.6 + centre;
  });
}
