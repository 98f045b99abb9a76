import type { Context } from './context.js';
import type { LinearDescription, ModelDescription } from './model.js';
import type { Engine } from './ops.js';
import type { QuantizedTensor } from './quantized-tensor.js';
import type { Scheme } from './scheme.js';
import type { WeightSource } from './transform.js';

/** Token ids `[count, length]`, row-major. */
export interface TokenWindows {
  readonly ids: Int32Array;
  readonly count: number;
  readonly length: number;
}

/**
 * Stores the state of a training for resuming: plain arrays by name. `save` replaces the earlier state completely, or
 * not at all.
 */
export interface TrainingStore {
  load(): Promise<ReadonlyMap<string, Float32Array> | undefined>;
  save(state: ReadonlyMap<string, Float32Array>): Promise<void>;
}

/** A linear to be trained. */
export interface TunedModule {
  readonly linear: LinearDescription;
  readonly scheme: Scheme;
}

export interface TunerForecast {
  /** Bytes by their use: `parameters`, `gradients`, `optimizer`, `activations`, ... */
  readonly memory: Readonly<Record<string, number>>;
  /** f32 multiplications and additions. */
  readonly operations: number;
}

export interface TunerInput<T> {
  readonly model: ModelDescription;
  readonly engine: Engine<T>;
  /** The unquantized weights. */
  readonly source: WeightSource;
  /** The results of the quantizers, from which training starts. */
  readonly start: ReadonlyMap<string, QuantizedTensor>;
  readonly windows: TokenWindows;
  readonly store?: TrainingStore;
  /**
   * Hidden states `[count, length, hidden]` of the unquantized model after some of its blocks, by block index, with the
   * bytes that this engine computes. The tuner need not compute them again.
   */
  readonly hiddenStates?: ReadonlyMap<number, Float32Array>;
}

export interface TunerResult {
  readonly modules: ReadonlyMap<string, QuantizedTensor>;
  /** `steps`, `trainedParameters`, `loss`, bytes of memory, ... */
  readonly figures: Readonly<Record<string, number>>;
  readonly notes: readonly string[];
}

/**
 * Trains the results of quantizers with gradients: a block against its own output, or the whole model against labels or
 * a teacher. It is the third kind of method, next to data-free and calibrated quantizers: it sees all linears together.
 */
export interface Tuner {
  readonly name: string;
  readonly options: Readonly<Record<string, unknown>>;
  /** True if the tuner trains one block at a time against its own output, and never needs logits. */
  readonly blockByBlock?: boolean;
  /** True if it reads {@link TunerInput.hiddenStates}; the run then keeps them. */
  readonly readsHiddenStates?: boolean;
  /** Returns the reason why a scheme cannot be trained, or undefined. The plan calls it before anything is computed. */
  refuse?(scheme: Scheme): string | undefined;
  /** @throws SchemeError when it needs more memory than the tuner may use, naming a batch that fits */
  forecast(
    model: ModelDescription,
    modules: readonly TunedModule[],
    windows: Pick<TokenWindows, 'count' | 'length'>,
  ): TunerForecast;
  /**
   * @throws NumericError when the loss is not finite, naming the step and the linear; the store keeps the last good
   *   state
   */
  tune<T>(input: TunerInput<T>, context: Context): Promise<TunerResult>;
}
