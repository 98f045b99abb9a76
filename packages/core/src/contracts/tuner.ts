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

/** Where a training keeps what it needs to go on: plain arrays by name. `save` replaces what was there, or nothing. */
export interface TrainingStore {
  load(): Promise<ReadonlyMap<string, Float32Array> | undefined>;
  save(state: ReadonlyMap<string, Float32Array>): Promise<void>;
}

/** A linear that is going to be trained. */
export interface TunedModule {
  readonly linear: LinearDescription;
  readonly scheme: Scheme;
}

export interface TunerForecast {
  /** Bytes by what holds them: `parameters`, `gradients`, `optimizer`, `activations`, ... */
  readonly memory: Readonly<Record<string, number>>;
  /** f32 multiplications and additions. */
  readonly operations: number;
}

export interface TunerInput<T> {
  readonly model: ModelDescription;
  readonly engine: Engine<T>;
  /** The unquantized weights. */
  readonly source: WeightSource;
  /** What the quantizers made of the linears: where training starts from. */
  readonly start: ReadonlyMap<string, QuantizedTensor>;
  readonly windows: TokenWindows;
  readonly store?: TrainingStore;
  /**
   * Hidden states `[count, length, hidden]` that the unquantized model has behind some of its blocks, by their index, in the bytes that
   * this engine gives: what is here need not be computed again.
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
 * Trains with gradients what quantizers have started: a block against its own output, or the whole model against labels
 * or a teacher. The third kind of method beside data-free and calibrated quantizers: it sees all linears at once.
 */
export interface Tuner {
  readonly name: string;
  readonly options: Readonly<Record<string, unknown>>;
  /** Nothing but single blocks is trained, against their own outputs: no step computes logits. */
  readonly blockByBlock?: boolean;
  /** It reads {@link TunerInput.hiddenStates}: they are kept for it. */
  readonly readsHiddenStates?: boolean;
  /** Says why a scheme cannot be trained, or nothing. Called by the plan, before anything is computed. */
  refuse?(scheme: Scheme): string | undefined;
  /** @throws SchemeError when it is more than the tuner was allowed, naming what fits */
  forecast(
    model: ModelDescription,
    modules: readonly TunedModule[],
    windows: Pick<TokenWindows, 'count' | 'length'>,
  ): TunerForecast;
  /**
   * @throws NumericError when the loss is not finite, naming the step and the layer; the store keeps the last good state
   */
  tune<T>(input: TunerInput<T>, context: Context): Promise<TunerResult>;
}
