import type { Checkpoint } from '@q/checkpoint';
import type { Context, Engine, Tensor, TokenWindows, TrainingStore } from '@q/core';
import type { FileOptions } from '@q/durable-files';

/** Weights of a model by checkpoint name, f32, linears `[out, in]`. */
export type Weights = (name: string) => Promise<Tensor<'f32'>>;

interface AdapterTunerInput<T> extends FileOptions {
  readonly checkpoint: Checkpoint;
  readonly engine: Engine<T>;
  readonly windows: TokenWindows;
  readonly store: TrainingStore;
  /** Output folder. */
  readonly out: string;
  readonly context: Context;
}

export interface AdapterTunerResult {
  readonly files: readonly string[];
  readonly steps: number;
  /** Mean loss of the last tenth of the steps, nats a token. */
  readonly loss: number;
  readonly trainedParameters: number;
  readonly secondsPerStep: number;
  /** Predicted bytes by kind. */
  readonly memory: Readonly<Record<string, number>>;
  /** Bytes of the first step by kind. Absent if the engine cannot measure them. */
  readonly measuredMemory?: Readonly<Record<string, number>>;
  /** Bytes of one task on the disk. */
  readonly taskBytes: number;
  /** Weights to score in addition to the original model, by name; the first one is the result. */
  readonly variants: ReadonlyMap<string, Weights>;
  readonly notes: readonly string[];
}

/** A way to train a model on a text without changing its stored weights. */
export interface AdapterTuner {
  readonly options: Readonly<Record<string, unknown>>;
  /** The reason why this model cannot be trained with it, or undefined. */
  refuse?(checkpoint: Checkpoint): string | undefined;
  /** @throws SchemeError when it needs more memory than allowed, naming a batch that fits */
  forecast(checkpoint: Checkpoint, windows: Pick<TokenWindows, 'count' | 'length'>): Promise<void>;
  run<T>(input: AdapterTunerInput<T>): Promise<AdapterTunerResult>;
}
