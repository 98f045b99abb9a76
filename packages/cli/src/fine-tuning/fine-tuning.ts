import type { Checkpoint } from '@q/checkpoint';
import type { Context, Engine, Tensor, TokenWindows, TrainingStore } from '@q/core';
import type { FileOptions } from '@q/durable-files';

/** Weights of a model by checkpoint name, f32, linears `[out, in]`. */
export type Weights = (name: string) => Promise<Tensor<'f32'>>;

interface FineTuningInput<T> extends FileOptions {
  readonly checkpoint: Checkpoint;
  readonly engine: Engine<T>;
  readonly windows: TokenWindows;
  readonly store: TrainingStore;
  /** Folder to write to. */
  readonly out: string;
  readonly context: Context;
}

export interface FineTuningResult {
  readonly files: readonly string[];
  readonly steps: number;
  /** Mean loss of the last tenth of the steps, nats a token. */
  readonly loss: number;
  readonly trainedParameters: number;
  readonly secondsPerStep: number;
  /** Predicted bytes, by what holds them. */
  readonly memory: Readonly<Record<string, number>>;
  /** Bytes of the first step, by what held them. Absent where the engine cannot tell. */
  readonly measuredMemory?: Readonly<Record<string, number>>;
  /** Bytes that one task takes on the disk. */
  readonly taskBytes: number;
  /** What there is to score beside the model as it was, by name; the first one is the result. */
  readonly variants: ReadonlyMap<string, Weights>;
  readonly notes: readonly string[];
}

/** A way to teach a model a text without touching its stored weights. */
export interface FineTuning {
  readonly options: Readonly<Record<string, unknown>>;
  /** Why this model cannot be trained like this, or nothing. */
  refuse?(checkpoint: Checkpoint): string | undefined;
  /** @throws SchemeError when it needs more memory than is allowed, naming the batch that fits */
  forecast(checkpoint: Checkpoint, windows: Pick<TokenWindows, 'count' | 'length'>): Promise<void>;
  run<T>(input: FineTuningInput<T>): Promise<FineTuningResult>;
}
