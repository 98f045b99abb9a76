import { type GroupTraining, type Random, SchemeError, type TrainingGroup } from '@q/core';
import { readArrays, writeArrays } from './arrays.js';
import { createGradientReducer } from './create-gradient-reducer.js';
import type { Exchange } from './exchange.js';
import type { GradientCompressor } from './gradient-compressor.js';

export interface TrainingGroupOptions {
  readonly compressor: GradientCompressor;
  readonly exchange: Exchange;
  /** The same seed on all workers. */
  readonly random: Random;
  /** See {@link GradientReducerOptions.smallest}. */
  readonly smallest?: number;
}

/**
 * Data-parallel training over an exchange, for the context of a run: `createContext({ kernels, group })`.
 * @throws SchemeError when the exchange's rank is not one of its workers
 */
export function createTrainingGroup({ compressor, exchange, random, smallest }: TrainingGroupOptions): TrainingGroup {
  const { rank, workers } = exchange;
  if (!(Number.isInteger(rank) && rank >= 0 && rank < workers))
    throw new SchemeError(`worker ${rank} of ${workers}: expected a whole number from 0 to ${workers - 1}`);
  return {
    rank,
    workers,
    compression: { name: compressor.name, options: compressor.options },
    ...(compressor.momentumAfter === undefined ? {} : { momentumAfter: compressor.momentumAfter }),
    start(shapes): GroupTraining {
      const reducer = createGradientReducer({ compressor, exchange, shapes, random, smallest });
      const prefix = (worker: number) => `worker ${worker}/`;
      return {
        reduce: reducer.reduce,
        async gatherState() {
          const all = (await exchange.allGather(writeArrays(reducer.save()))).map(readArrays);
          return new Map(
            all.flatMap((state, worker) =>
              [...state].map(([name, values]): [string, Float32Array] => [`${prefix(worker)}${name}`, values]),
            ),
          );
        },
        restoreState(state) {
          const own = prefix(rank);
          reducer.load(
            new Map(
              [...state]
                .filter(([name]) => name.startsWith(own))
                .map(([name, values]) => [name.slice(own.length), values]),
            ),
          );
        },
        async fromFirst(state) {
          const [first] = await exchange.allGather(writeArrays((rank === 0 && state) || new Map()));
          const received = readArrays(first);
          return received.size > 0 ? received : undefined;
        },
        get sentBytes() {
          return reducer.sentBytes;
        },
        get exactBytes() {
          return reducer.exactBytes;
        },
      };
    },
  };
}
