import { SchemeError, type TrainingGroup, type TrainingStore } from '@q/core';
import type { Optimizer } from './optimizers/optimizer.js';
import type { Parameterization } from './parameters/parameterization.js';

/** The parts of a training loop that depend on the group of workers. A single worker changes nothing. */
export interface GroupShare {
  /** This worker's windows of a batch, in their order. */
  share(windows: Int32Array): Int32Array;
  /**
   * Replaces the gradients with their means over the workers.
   * @param loss mean over this worker's windows
   * @returns the mean loss over the windows of all workers
   */
  reduce(gradients: Map<string, Float32Array>, loss: number, step: number): Promise<number>;
  /** Whether gradients are momenta at this step. The norm of momenta is not used. */
  exchangesMomenta(step: number): boolean;
  /** Loads the checkpoint of worker 0 on all workers. */
  load(store: TrainingStore | undefined): Promise<ReadonlyMap<string, Float32Array> | undefined>;
  /** Worker 0 writes the checkpoint, with the states of all workers. */
  save(store: TrainingStore | undefined, state: () => Map<string, Float32Array>): Promise<void>;
  traffic(): { readonly sentBytes: number; readonly exactBytes: number } | undefined;
}

const lossName = 'loss of the batch';
const groupPrefix = 'group/';

/**
 * Joins the workers of the context into a training.
 * @param batch windows of a batch, of which each worker takes an equal share
 * @throws SchemeError when the batch cannot be shared evenly, or the optimizer cannot freeze its second moment for the
 *   compression
 */
export function joinGroup(
  group: TrainingGroup | undefined,
  tensors: ReadonlyMap<string, Parameterization>,
  optimizer: Optimizer,
  batch: number,
): GroupShare {
  if (!group)
    return {
      share: (windows) => windows,
      reduce: async (_gradients, loss) => loss,
      exchangesMomenta: () => false,
      load: async (store) => store?.load(),
      save: async (store, state) => store?.save(state()),
      traffic: () => undefined,
    };
  const { rank, workers, momentumAfter = Number.POSITIVE_INFINITY, compression } = group;
  if (batch % workers !== 0)
    throw new SchemeError(
      `a batch of ${batch} windows cannot be shared evenly by ${workers} workers: take a batch that is a multiple of ${workers}`,
    );
  if (Number.isFinite(momentumAfter) && !optimizer.freezeSecondMoment)
    throw new SchemeError(
      `${compression.name} exchanges momenta, and ${optimizer.name} cannot freeze its second moment: take adamW or another compression`,
    );
  const training = group.start(shapesOf(tensors));
  const size = batch / workers;
  return {
    share: (windows) => windows.slice(rank * size, (rank + 1) * size),
    async reduce(gradients, loss, step) {
      if (step >= momentumAfter) optimizer.freezeSecondMoment?.();
      const means = await training.reduce(new Map([...gradients, [lossName, Float32Array.of(loss)]]), step);
      for (const name of gradients.keys()) gradients.set(name, means.get(name) as Float32Array);
      return (means.get(lossName) as Float32Array)[0];
    },
    exchangesMomenta: (step) => step >= momentumAfter,
    async load(store) {
      const saved = await training.fromFirst(rank === 0 ? await store?.load() : undefined);
      if (!saved) return undefined;
      training.restoreState(
        new Map(
          [...saved]
            .filter(([name]) => name.startsWith(groupPrefix))
            .map(([name, values]) => [name.slice(groupPrefix.length), values]),
        ),
      );
      return new Map([...saved].filter(([name]) => !name.startsWith(groupPrefix)));
    },
    async save(store, state) {
      const own = await training.gatherState();
      if (rank !== 0 || !store) return;
      await store.save(
        new Map([
          ...state(),
          ...[...own].map(([name, values]): [string, Float32Array] => [`${groupPrefix}${name}`, values]),
        ]),
      );
    },
    traffic: () => ({ sentBytes: training.sentBytes, exactBytes: training.exactBytes }),
  };
}

/**
 * Shapes of all parameters, by `tensor#role`. A parameter with as many values as its tensor has the tensor's shape;
 * others count as vectors.
 */
function shapesOf(tensors: ReadonlyMap<string, Parameterization>): Map<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>();
  for (const [name, { shape, parameters }] of tensors)
    for (const [role, { length }] of Object.entries(parameters))
      shapes.set(`${name}#${role}`, shape.reduce((product, n) => product * n, 1) === length ? shape : [length]);
  return shapes.set(lossName, [1]);
}
