import {
  boolean,
  type Context,
  checkOptions,
  codeOnly,
  dequantize,
  type Engine,
  integer,
  type Kernels,
  type LowRankAdapter,
  type LowRankPair,
  type ModelDescription,
  number,
  type OptionValues,
  type QuantizedTensor,
  quantize,
  type Random,
  type Runtime,
  type Scheme,
  SchemeError,
  schemes,
  type Tensor,
  type TokenWindows,
  type TrainingStore,
  type TunerForecast,
  tensor,
  type WeightSource,
} from '@q/core';
import { wrapRuntime } from '@q/models';
import { checkMemory, describeMemory, forecastTraining } from '../memory.js';
import { modelObjective } from '../objectives/model-objective.js';
import { adamW8bit } from '../optimizers/adamw-8bit.js';
import type { Optimizer } from '../optimizers/optimizer.js';
import type { Schedule } from '../optimizers/schedule.js';
import type { Parameterization } from '../parameters/parameterization.js';
import { type TrainResult, train } from '../train.js';
import { epochsOption, isCount, isPositive, sharedTrainingOptions } from '../training-options.js';
import { stepsOf } from '../tune-model.js';
import { factorNames, lowRankRuntime } from './low-rank-runtime.js';

export const qloraOptions = {
  ...sharedTrainingOptions,
  /**
   * Scheme of the frozen linears. Default: NF4 in blocks of 64 with double quantization, 4.127 bits a weight. `none`:
   * not quantized, which makes it LoRA.
   */
  base: codeOnly<Scheme | 'none'>(
    "a scheme, or 'none'",
    (value) => value === 'none' || (typeof value === 'object' && value !== null && 'format' in value),
    { help: 'Scheme of the frozen linears.' },
  ),
  /** Rank of the factors. Default 16. The paper has 64. */
  rank: integer({ min: 1, default: 16, help: 'Rank of the factors.' }),
  /** The product of the factors is scaled by `alpha / rank`. Default 16. */
  alpha: number({ min: 0, default: 16, help: 'The product of the factors is scaled by alpha / rank.' }),
  /** Share of the inputs that training drops. Default 0.05. */
  dropout: number({ min: 0, below: 1, default: 0.05, help: 'Share of the inputs that training drops.' }),
  /**
   * Linears that get factors. Default: all linears of the blocks. With fewer, QLoRA does not reach full fine-tuning.
   */
  targets: codeOnly<(module: string) => boolean>('a function', (value) => typeof value === 'function', {
    help: 'Linears that get factors.',
  }),
  /** Passes over the windows. Default 3. */
  epochs: epochsOption(3),
  /** Batches a step, their gradients averaged. Default 1. */
  accumulate: codeOnly<number>('a whole number of at least 1', isCount, { default: 1, help: 'Batches a step.' }),
  /** Peak learning rate; constant after the warm-up, as in the paper. Default 2e-4. */
  rate: number({ above: 0, default: 2e-4, help: 'Peak learning rate of the trained parameters.' }),
  /** Default 3 % of the steps. */
  warmUp: codeOnly<number>('a whole number', (value) => isCount(value) || value === 0, {
    help: 'Steps of linear warm-up.',
  }),
  /** Largest norm of all gradients together. Default 0.3. */
  clipNorm: codeOnly<number>('a number above 0', isPositive, { default: 0.3, help: 'Largest norm of all gradients.' }),
  /** Default: AdamW with 8-bit states, 0.9 and 0.999, no decay. */
  optimizer: codeOnly<() => Optimizer>('a function', (value) => typeof value === 'function', {
    help: 'Makes the optimizer.',
  }),
  /** The last windows, which are scored and not trained on; the best epoch is kept. Default 0. */
  heldOut: integer({ min: 0, default: 0, help: 'Windows held out; the best epoch on them is kept.' }),
  /** Epochs without a better held-out loss after which training stops. Default 3. */
  patience: codeOnly<number>('a whole number of at least 1', isCount, {
    default: 3,
    help: 'Epochs without a better held-out loss after which training stops.',
  }),
  /**
   * Keeps one block's activations and dequantized weights at a time. Default true: without it the tape holds those of
   * all blocks in f32.
   */
  checkpointing: boolean({ default: true, help: 'Run blocks twice instead of keeping their activations.' }),
};

export type QloraOptions = OptionValues<typeof qloraOptions>;

export interface QloraInput<T> {
  readonly model: ModelDescription;
  readonly engine: Engine<T>;
  readonly source: WeightSource;
  readonly windows: TokenWindows;
  readonly store?: TrainingStore;
}

export interface QloraResult {
  readonly adapter: LowRankAdapter;
  /** The frozen linears, by module; empty for LoRA. */
  readonly base: ReadonlyMap<string, QuantizedTensor>;
  readonly training: TrainResult;
  readonly trainedParameters: number;
  /** Predicted bytes, by their use. */
  readonly memory: Readonly<Record<string, number>>;
  /**
   * Measured bytes of the first step; dequantized weights count as activations. Absent if the engine cannot measure
   * them.
   */
  readonly measuredMemory?: Readonly<Record<string, number>>;
}

export interface Qlora {
  readonly options: Readonly<Record<string, unknown>>;
  /** @throws SchemeError when the prediction is more memory than is allowed, naming the batch that fits */
  forecast(model: ModelDescription, windows: Pick<TokenWindows, 'count' | 'length'>): TunerForecast;
  /**
   * @throws NumericError when the loss is not finite, naming the step and the linear; the store keeps the last good
   *   state
   */
  train<T>(input: QloraInput<T>, context: Context): Promise<QloraResult>;
}

/**
 * QLoRA (arXiv 2305.14314): the weights are frozen in 4 bits, and low-rank factors added to them learn the next token
 * of a text. Linears are dequantized when they are used and freed after it. Gradients are computed for the factors
 * alone.
 */
export function qlora(options: QloraOptions = {}): Qlora {
  const given = checkOptions('qlora', qloraOptions, options);
  const { rank, alpha, dropout, rate, epochs, batch, accumulate, clipNorm, heldOut, patience, checkpointing } = given;
  const { base = schemes.nf4DoubleQuantized, targets = () => true, memory = Number.POSITIVE_INFINITY } = given;
  const { optimizer: makeOptimizer = () => adamW8bit({ beta2: 0.999 }) } = given;
  const settings = { epochs, batch, accumulate, heldOut };
  const predict = (model: ModelDescription, windows: Pick<TokenWindows, 'count' | 'length'>, size: number) =>
    forecastLora(model, windows, {
      ...{ base, rank, targets, checkpointing, batch: size, optimizer: makeOptimizer() },
      steps: stepsOf({ ...settings, batch: size }, windows.count),
    });
  const forecast: Qlora['forecast'] = (model, windows) => {
    checkMemory((size) => predict(model, windows, size), batch, memory);
    return predict(model, windows, batch);
  };
  return {
    options: {
      ...{ ...settings, rank, alpha, dropout, rate, clipNorm, patience, checkpointing },
      base: base === 'none' ? base : { ...base },
      optimizer: makeOptimizer().name,
    },
    forecast,
    async train(input, context) {
      const { model, engine, source, windows, store } = input;
      const predicted = forecast(model, windows);
      context.logger.info(`training is predicted to need ${describeMemory(predicted)}`);
      const frozen = await freezeModel(engine, model, source, base, context.kernels);
      const linears = model.blocks.flatMap((block) => block.linears).filter(({ module }) => targets(module));
      if (linears.length === 0) throw new SchemeError('no linear of the model is a target of the adapter');
      const modules = new Set(linears.map(({ module }) => module));
      const pairs = new Map(
        linears.map((linear) => [linear.module, startPair(linear, rank, context.random.fork(linear.module))]),
      );
      const tensors = new Map<string, Parameterization>();
      for (const [module, { a, b }] of pairs) {
        const names = factorNames(module);
        tensors.set(names.a, plainParameters(a)).set(names.b, plainParameters(b));
      }
      const dropped = context.random.fork('dropout');
      const steps = stepsOf(settings, windows.count);
      const epoch = Math.max(1, steps / epochs);
      try {
        const training = await train(
          {
            tensors,
            objective: modelObjective({
              ...{ ops: engine.ops, model, frozen: frozen.handles, windows, heldOut, checkpointing },
              shapes: new Map([...tensors].map(([name, { shape }]) => [name, shape])),
              loss: { labels: 1, teacher: 0 },
              wrap: (runtime, number) =>
                lowRankRuntime(frozen.wrap(runtime), {
                  ...{ modules, alpha, rank },
                  // Inputs are dropped only during training.
                  ...(number === undefined ? {} : { dropout, random: dropped.fork(`batch ${number}`) }),
                }),
            }),
            optimizer: makeOptimizer(),
            schedule: constant(options.warmUp ?? Math.ceil(0.03 * steps)),
            rates: { factor: rate },
            ...{
              steps,
              batch,
              accumulate,
              clipNorm,
              store,
              saveEvery: epoch,
              task: base === 'none' ? 'lora' : 'qlora',
            },
            ...(heldOut > 0 ? { keepBest: 'heldOut' as const, evaluateEvery: epoch, patience } : {}),
            observeBytes: engine.observeBytes,
          },
          context,
        );
        const trainedParameters = [...tensors.values()].reduce((sum, { value }) => sum + value().length, 0);
        const adapter = { rank, alpha, dropout, modules: pairs };
        return {
          ...{ adapter, base: frozen.base, training, trainedParameters, memory: predicted.memory },
          ...(training.memory ? { measuredMemory: { ...training.memory, base: heldBytes(frozen.base) } } : {}),
        };
      } finally {
        for (const handle of frozen.handles.values()) engine.ops.dispose(handle);
      }
    },
  };
}

interface FrozenModel<T> {
  readonly base: ReadonlyMap<string, QuantizedTensor>;
  /** All other tensors, on the engine. */
  readonly handles: Map<string, T>;
  wrap(runtime: Runtime<T>): Runtime<T>;
}

/** Quantizes the linears of the blocks. All other tensors are copied to the engine unquantized. */
async function freezeModel<T>(
  { ops }: Engine<T>,
  model: ModelDescription,
  source: WeightSource,
  scheme: Scheme | 'none',
  kernels: Kernels,
): Promise<FrozenModel<T>> {
  const linears = new Set(model.blocks.flatMap((block) => block.linears).map(({ module }) => `${module}.weight`));
  const base = new Map<string, QuantizedTensor>();
  const handles = new Map<string, T>();
  for (const name of model.expected.keys()) {
    const weight = await source.weight(name);
    if (scheme !== 'none' && linears.has(name))
      base.set(name.replace(/\.weight$/, ''), quantize(weight, scheme, { kernels }));
    else handles.set(name, ops.keep(ops.fromTensor(weight)));
  }
  return {
    base,
    handles,
    wrap: (runtime) =>
      wrapRuntime(runtime, {
        weight(name, inner) {
          const frozen = name.endsWith('.weight') ? base.get(name.slice(0, -'.weight'.length)) : undefined;
          // The scope in which it was requested frees it.
          return frozen ? ops.fromTensor(dequantize(frozen)) : inner(name);
        },
      }),
  };
}

/**
 * The initial factors: `A` is uniform in +-1/sqrt(in) (Kaiming with slope sqrt 5, as in PEFT), `B` is zero, so training
 * starts at the model itself.
 */
function startPair(
  { inFeatures, outFeatures }: { readonly inFeatures: number; readonly outFeatures: number },
  rank: number,
  random: Random,
): LowRankPair {
  const bound = 1 / Math.sqrt(inFeatures);
  const a = Float32Array.from({ length: rank * inFeatures }, () => bound * (2 * random.uniform() - 1));
  return {
    a: tensor('f32', [rank, inFeatures], a),
    b: tensor('f32', [outFeatures, rank], new Float32Array(outFeatures * rank)),
  };
}

/** A tensor whose values are the trained parameters. */
function plainParameters({ shape, data }: Tensor<'f32'>): Parameterization {
  return { shape, parameters: { factor: data }, value: () => data, backward: (derivative) => ({ factor: derivative }) };
}

const constant =
  (warmUp: number): Schedule =>
  (step) =>
    Math.min(1, (step + 1) / Math.max(1, warmUp));

interface LoraShape {
  readonly base: Scheme | 'none';
  readonly rank: number;
  readonly targets: (module: string) => boolean;
  readonly batch: number;
  readonly checkpointing: boolean;
  readonly optimizer: Pick<Optimizer, 'stateBytes'>;
  readonly steps: number;
}

/**
 * Bytes predicted from shapes alone: the base in its bits, factors with their gradients and states, and the activations
 * of a batch.
 */
function forecastLora(
  model: ModelDescription,
  windows: Pick<TokenWindows, 'count' | 'length'>,
  shape: LoraShape,
): TunerForecast {
  const { base, rank, targets, batch, checkpointing, optimizer, steps } = shape;
  const linears = model.blocks.flatMap((block) => block.linears);
  const elements = linears.reduce((sum, { inFeatures, outFeatures }) => sum + inFeatures * outFeatures, 0);
  const trained = linears
    .filter(({ module }) => targets(module))
    .reduce((sum, { inFeatures, outFeatures }) => sum + rank * (inFeatures + outFeatures), 0);
  const ofBlocks = model.blocks.map((block) =>
    block.linears.reduce((sum, { inFeatures, outFeatures }) => sum + 4 * inFeatures * outFeatures, 0),
  );
  const whole = forecastTraining(
    model,
    [],
    windows,
    { batch, checkpointing, optimizer, weights: false, teacher: false },
    steps,
  );
  const dequantized = base === 'none' ? 0 : checkpointing ? Math.max(...ofBlocks) : 4 * elements;
  // For every factor pair: the input with some of it dropped, the mask, and the addend of the linear's output.
  const beside = model.blocks.map((block) =>
    block.linears
      .filter(({ module }) => targets(module))
      .reduce((sum, { inFeatures, outFeatures }) => sum + 2 * inFeatures + outFeatures, 0),
  );
  const adapterWidth = checkpointing ? Math.max(...beside) : beside.reduce((a, b) => a + b, 0);
  const kept = (of: Scheme) =>
    linears.reduce((sum, { inFeatures, outFeatures }) => sum + bytesOf(of, [outFeatures, inFeatures]), 0);
  return {
    operations: whole.operations + steps * batch * windows.length * 2 * (2 * elements + 3 * trained),
    memory: {
      base: base === 'none' ? 4 * elements : kept(base),
      dequantized,
      factors: 4 * trained,
      gradients: 2 * 4 * trained,
      optimizer: optimizer.stateBytes(trained),
      activations: whole.memory.activations + 4 * batch * windows.length * adapterWidth,
      frozen: whole.memory.frozen,
    },
  };
}

/** Bytes of the codes and scales of frozen linears on the host. */
function heldBytes(base: ReadonlyMap<string, QuantizedTensor>): number {
  return [...base.values()].reduce((sum, { codes, scales }) => sum + codes.byteLength + scales.byteLength, 0);
}

/** A byte a code, as on the host, and an f32 scale a block. */
function bytesOf({ granularity }: Scheme, [rows, columns]: readonly [number, number]): number {
  const size = 'size' in granularity && typeof granularity.size === 'number' ? granularity.size : columns;
  return rows * columns + 4 * Math.ceil((rows * columns) / size);
}
