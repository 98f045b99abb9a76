import { FormatError, type TensorStacks } from '@q/core';
import type { PlannedTensor } from '@q/safetensors';

/**
 * The tensors to write, with those of a stack joined into one tensor at the position of the first of them.
 * @throws FormatError when slices of a stack are absent or differ in dtype or shape
 */
export function joinStacks(
  planned: readonly PlannedTensor[],
  stacks: TensorStacks | undefined,
): readonly PlannedTensor[] {
  if (!stacks?.join) return planned;
  const joined = new Map<string, PlannedTensor | Map<number, PlannedTensor>>();
  for (const tensor of planned) {
    const place = stacks.join(tensor.name);
    if (!place) {
      joined.set(tensor.name, tensor);
      continue;
    }
    const present = joined.get(place.stack);
    const slices = present instanceof Map ? present : new Map<number, PlannedTensor>();
    slices.set(place.index, tensor);
    joined.set(place.stack, slices);
  }
  return [...joined].map(([name, one]) => (one instanceof Map ? stackOf(name, one) : one));
}

function stackOf(name: string, slices: ReadonlyMap<number, PlannedTensor>): PlannedTensor {
  const parts = Array.from({ length: slices.size }, (_, index) => slices.get(index));
  const [first] = parts;
  for (const [index, part] of parts.entries()) {
    if (!first || !part)
      throw new FormatError(
        `tensor ${name}: slice ${index} of ${slices.size} is not planned: the source lacks an expert`,
      );
    if (part.dtype !== first.dtype || `${part.shape}` !== `${first.shape}`)
      throw new FormatError(
        `tensor ${name}: ${part.name} is ${part.dtype} [${part.shape}] and ${first.name} is ${first.dtype} [${first.shape}]: slices of one tensor must be alike. Let one rule match all experts of a layer`,
      );
  }
  const { dtype, shape } = first as PlannedTensor;
  return { name, dtype, shape: [parts.length, ...shape], parts: parts as PlannedTensor[] };
}
