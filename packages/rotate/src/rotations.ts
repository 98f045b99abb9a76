import type { Kernels, ModelDescription, Random } from '@q/core';
import { refuseSize } from './factors.js';
import { headRotation, keepOnes, type Rotation, randomRotation, repeatHeads } from './rotation.js';

/**
 * Names of QuaRot's rotations, numbered as in SpinQuant (arXiv 2405.16406, figure 1), by the vectors that they rotate.
 */
export interface RotatedPlaces {
  /** R1: the residual stream. */
  readonly residual: boolean;
  /** R2: each head's values, between v and o. */
  readonly values: boolean;
  /** R4: the inputs of the down projections, which the runtime must rotate. */
  readonly mlpInner: boolean;
}

/** All rotations of a model come from here, so a rewrite and a runtime with the same seed use the same ones. */
export async function residualRotation(model: ModelDescription, random: Random, kernels: Kernels): Promise<Rotation> {
  const rotation = randomRotation(model.hiddenSize, random.fork('rotate/residual'));
  const centred = model.residualStream?.norms.some(({ kind }) => kind === 'layer');
  return centred ? keepOnes(rotation, kernels) : rotation;
}

/** R2 of a block: for the rows of v, and the same ones repeated for the columns of o. */
export function valueRotations(
  { prefix, attention }: ModelDescription['blocks'][number],
  random: Random,
): { value: Rotation; output: Rotation } | undefined {
  if (!attention) return undefined;
  const { heads, kvHeads, headDim } = attention;
  const value = headRotation(kvHeads, headDim, random.fork(`rotate/values/${prefix}`));
  return { value, output: repeatHeads(value, heads / kvHeads) };
}

/** R3 of every block: the same for keys and queries, and for all heads, so scores do not change. */
export function keyRotation(model: ModelDescription, index: number, random: Random): Rotation | undefined {
  const block = model.blocks[index];
  return block?.attention && randomRotation(block.attention.headDim, random.fork(`rotate/keys/${block.prefix}`));
}

/** R4, by down projection. */
export function innerRotations(model: ModelDescription, random: Random): ReadonlyMap<string, Rotation> {
  const rotations = new Map<string, Rotation>();
  for (const { prefix, linears, mlpOutputs = [] } of model.blocks) {
    for (const { module, inFeatures } of linears) {
      if (!mlpOutputs.includes(module)) continue;
      rotations.set(module, randomRotation(inFeatures, random.fork(`rotate/inner/${prefix}`)));
    }
  }
  return rotations;
}

/** The reason why these places of the model cannot be rotated, or undefined. */
export function refusePlaces(model: ModelDescription, places: RotatedPlaces): string | undefined {
  const { architecture, residualStream: stream } = model;
  if (places.residual) {
    if (!stream) return `${architecture} does not declare the readers and writers of its residual stream`;
    const post = stream.norms.find(({ writesStream }) => writesStream);
    if (post) {
      return `the norm ${post.module} comes after the residual sum, so its weight scales the residual stream itself, channel by channel, and a rotation does not commute with it`;
    }
    const between = stream.norms.find(({ addsToStream }) => addsToStream);
    if (between) {
      return `the norm ${between.module} comes between a linear and the residual sum, so its weight scales the added values channel by channel, and a rotation does not commute with it. Rotate only the values of the heads`;
    }
    const kinds = new Set(stream.norms.map(({ kind }) => kind));
    if (kinds.size > 1) return `${architecture} mixes RMS norms and layer norms on one residual stream`;
    const head = model.head && `${model.head.module}.weight`;
    if (model.headless && head && model.ties.has(head)) {
      return `${head} is tied to ${model.ties.get(head)} and would need weights of its own, but the checkpoint holds the model without its head (its names have no prefix), where readers look for none. Save it once with its head`;
    }
    const refusal = refuseSize(model.hiddenSize);
    if (refusal) return refusal;
  }
  for (const { prefix, attention, linears, mlpOutputs } of model.blocks) {
    if (places.values && !attention) return `${prefix} does not declare the heads of its attention`;
    const size = places.values && attention && refuseSize(attention.headDim);
    if (size) return `${prefix}: ${size}`;
    if (!places.mlpInner) continue;
    if (!mlpOutputs) return `${prefix} does not declare the down projections of its MLP`;
    for (const { module, inFeatures } of linears) {
      const inner = mlpOutputs.includes(module) && refuseSize(inFeatures);
      if (inner) return `${module}: ${inner}`;
    }
  }
  return undefined;
}
