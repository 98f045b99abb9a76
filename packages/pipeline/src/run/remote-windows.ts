import type { Collector, Windows } from '@q/calib';
import type { EncodedModule } from '@q/checkpoint';
import type { Tensor } from '@q/core';
import type { LargestCached } from '../blocks/cache-ranges.js';
import type { InputRequest, InputStatistics } from './collect-input.js';

/** The settings that decide the bits of statistics of windows, in addition to the plan. */
export interface WindowSettings {
  readonly windows: Windows;
  readonly shards: number;
  /** Windows at a time. */
  readonly batch: number;
  /** Share of all batches that go through the unquantized model; 0 for none. */
  readonly pairedTokens: number;
  /** Name of the engine. */
  readonly engine: string;
}

/** A stage of the model, by index of its block and of the stage in the block; stage -1 is before the first one. */
export interface StagePlace {
  readonly block: number;
  readonly stage: number;
}

/** Weights that replace those of the source in later stages. */
export interface WrittenWeights {
  /** Quantized linears, by module. */
  readonly modules: ReadonlyMap<string, EncodedModule>;
  /** Tensors that transforms have changed, by name. */
  readonly tensors: ReadonlyMap<string, Tensor<'f32'>>;
}

/** Sends the windows of a calibrated run through the model in other processes. */
export interface RemoteWindows {
  /**
   * Tells which weights later windows run with: quantized tables of embeddings, what transforms have changed in a block
   * (stage -1), or the linears of a stage. It replaces what was told about the place before.
   * @param place `undefined` for the tables
   */
  written(place: StagePlace | undefined, weights: WrittenWeights): Promise<void>;
  /**
   * Collects statistics of inputs of a stage on the weights that are written.
   * @returns the statistics of each shard, in order; within it in the order of `inputs`
   */
  collect(place: StagePlace, inputs: readonly InputRequest[]): AsyncIterable<readonly InputStatistics[]>;
  /**
   * Collects the statistics that a transform of the recipe needs of a block (`transformInputs`).
   * @param transform its index among the transforms
   * @returns those of each shard, in order
   */
  collectBlock(block: number, transform: number): AsyncIterable<readonly Collector[]>;
  /**
   * The largest keys and values of a block's cache, before its last stage.
   * @returns those of each shard, in order
   */
  collectCache(block: number): AsyncIterable<LargestCached>;
  /** Removes what only later stages would have read. Called when no stage is left. */
  finish(): Promise<void>;
  close(): Promise<void>;
}

/** The statistics of an input of a stage from all shards, merged in the order of the shards. */
export async function mergedInputs(
  shards: AsyncIterable<readonly InputStatistics[]>,
): Promise<readonly InputStatistics[]> {
  let all: readonly InputStatistics[] | undefined;
  for await (const shard of shards) {
    for (const [index, { collector, ranges }] of (all ?? []).entries()) {
      collector.merge(shard[index].collector);
      if (ranges !== collector) ranges.merge(shard[index].ranges);
    }
    all ??= shard;
  }
  return all ?? [];
}

/** The same for the statistics of a transform. */
export async function mergedCollectors(shards: AsyncIterable<readonly Collector[]>): Promise<readonly Collector[]> {
  let all: readonly Collector[] | undefined;
  for await (const shard of shards) {
    for (const [index, collector] of (all ?? []).entries()) collector.merge(shard[index]);
    all ??= shard;
  }
  return all ?? [];
}
