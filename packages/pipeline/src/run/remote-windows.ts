import type { Windows } from '@q/calib';
import type { EncodedModule } from '@q/checkpoint';
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

/** A stage of the model, by index of its block and of the stage in the block. */
export interface StagePlace {
  readonly block: number;
  readonly stage: number;
}

/** Written linears, by module. */
export type EncodedModules = ReadonlyMap<string, EncodedModule>;

/** Sends the windows of a calibrated run through the model in other processes. */
export interface RemoteWindows {
  /**
   * Tells that quantized tables of embeddings, or all linears of a stage, are written. Later windows run with them. The
   * tables come first, then the stages in the order of the model.
   * @param place `undefined` for the tables
   */
  written(place: StagePlace | undefined, modules: EncodedModules): Promise<void>;
  /**
   * Collects statistics of inputs of a stage on the weights that are written.
   * @returns the statistics of each shard, in order; within it in the order of `inputs`
   */
  collect(place: StagePlace, inputs: readonly InputRequest[]): AsyncIterable<readonly InputStatistics[]>;
  /** Removes what only later stages would have read. Called when no stage is left. */
  finish(): Promise<void>;
  close(): Promise<void>;
}
