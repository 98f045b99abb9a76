import { BlockWalk } from '@q/blockwise';
import {
  type BlockDescription,
  type Context,
  type Engine,
  type LanguageModel,
  languageModel,
  type ModelDescription,
  type Runtime,
  SchemeError,
  type TokenWindows,
  type WeightSource,
} from '@q/core';
import { createRuntime, runBlock, wrapRuntime } from '@q/models';
import { type LabelSource, sampleLabels } from './labels.js';

export interface OutputGradientsOptions<T> {
  readonly model: ModelDescription;
  readonly engine: Engine<T>;
  /** The unquantized weights. */
  readonly source: WeightSource;
  readonly windows: TokenWindows;
  /**
   * The labels of the end loss. `sampled` (default): a token drawn from the model's own distribution at each position;
   * then the second moments of the gradients are the Fisher information of the KL divergence. `text`: the text's next
   * token.
   */
  readonly labels?: LabelSource;
  /** Windows that are on the engine at a time. Default 4. */
  readonly batch?: number;
  /** True: `visit` also gets the linears' inputs, at the cost of one more forward pass. Default false. */
  readonly inputs?: boolean;
  /** Called once for each batch with what happens outside of the blocks, after the batch's linears. */
  readonly visitEnds?: (ends: EndGradients) => void | Promise<void>;
}

/** What a batch of windows leaves outside of the blocks. It is valid only during the call. */
export interface EndGradients {
  /** Number of the first token: `first window * length`. */
  readonly firstToken: number;
  /** Outputs of the last block, before the final norm `[tokens, hiddenSize]`. */
  readonly hidden: Float32Array;
  /**
   * `[tokens, width]`: derivatives of the loss by the row of the model's `tokenTable` that each token looks up, through
   * the blocks alone. A head that is tied to the table adds nothing. Absent if the model declares no such table.
   */
  readonly rows?: Float32Array;
}

/** The gradient of one linear on some windows. It is valid only during the call. */
export interface OutputGradient {
  readonly module: string;
  /** Number of the first token: `first window * length`. */
  readonly firstToken: number;
  /** `[tokens, out]`: derivatives of the sum over tokens of the negative log likelihoods by the linear's outputs. */
  readonly gradient: Float32Array;
  /** `[tokens, in]`, with the option `inputs`. */
  readonly input?: Float32Array;
}

/**
 * Runs one forward and one backward pass over all windows. It calls `visit` for each linear of each block, last block
 * first, batch by batch. Hidden states of the blocks are kept on the host, so the engine has the weights and the
 * activations of one block.
 * @throws SchemeError for models with routed experts: their linears do not see all tokens
 */
export async function outputGradients<T>(
  options: OutputGradientsOptions<T>,
  visit: (gradient: OutputGradient) => void | Promise<void>,
  context: Context,
): Promise<void> {
  const { engine, source, windows, labels = 'sampled', batch = 4, inputs = false } = options;
  const model = languageModel(options.model, 'gradients of the end loss');
  const { ops } = engine;
  const { count, length } = windows;
  const routed = model.blocks.find(({ experts }) => experts && experts.length > 0);
  if (routed)
    throw new SchemeError(
      `${routed.prefix} has experts, whose linears see only some tokens: gradients of the end loss cannot be assigned to tokens there. Use the objective of the linears themselves (layer)`,
    );
  const weights = new Map<string, T>();
  try {
    for (const name of model.expected.keys()) weights.set(name, ops.keep(ops.fromTensor(await source.weight(name))));
    const runtime = createRuntime(ops, weights, { ties: model.ties });
    for (let first = 0; first < count; first += batch) {
      const size = Math.min(batch, count - first);
      const some = { ids: windows.ids.slice(first * length, (first + size) * length), count: size, length };
      const walk = new BlockWalk({ model, engine, windows: some, batch: size, signal: context.signal, weights });
      const states = await forwardStates(walk);
      const last = { windows: some, first, labels, hidden: states.pop() as Float32Array };
      let arriving = await headGradient(model, engine, runtime, last, context);
      for (const block of [...model.blocks].reverse()) {
        context.signal?.throwIfAborted();
        const hidden = states.pop() as Float32Array;
        const shape = [size, length, model.hiddenSize];
        const recorded = inputs ? await recordInputs(block, runtime, hidden, shape) : undefined;
        const { gradients, byInput } = await backwardThrough(engine, block, runtime, { hidden, arriving, shape });
        for (const [module, gradient] of gradients)
          await visit({
            ...{ module, firstToken: first * length, gradient },
            ...(recorded ? { input: recorded.get(module) as Float32Array } : {}),
          });
        arriving = byInput;
      }
      if (options.visitEnds) {
        const rows = await rowGradient(model, engine, runtime, { ids: some.ids, arriving, shape: [size, length] });
        await options.visitEnds({ firstToken: first * length, hidden: last.hidden, ...(rows ? { rows } : {}) });
      }
      context.progress({ task: 'end loss', done: first + size, total: count, unit: 'windows' });
    }
  } finally {
    for (const handle of weights.values()) ops.dispose(handle);
  }
}

/** Hidden states before each block, and after the last one. */
async function forwardStates<T>(walk: BlockWalk<T>): Promise<Float32Array[]> {
  await walk.embed();
  const states = [walk.residual(0).slice()];
  for (const block of walk.model.blocks) {
    await walk.runBlock(block);
    states.push(walk.residual(0).slice());
  }
  walk.dispose();
  return states;
}

/** Windows whose loss is differentiated. */
interface LabelledBatch {
  readonly windows: TokenWindows;
  /** Number of the first window among all windows. */
  readonly first: number;
  readonly labels: LabelSource;
  /** Their last hidden states. */
  readonly hidden: Float32Array;
}

/** Derivative of the summed loss by the last hidden states. The logits of one window are computed at a time. */
async function headGradient<T>(
  model: LanguageModel,
  { ops }: Engine<T>,
  runtime: Runtime<T>,
  { windows: { ids, length }, first, labels, hidden }: LabelledBatch,
  { random, signal }: Context,
): Promise<Float32Array> {
  const size = length * model.hiddenSize;
  const gradient = new Float32Array(hidden.length);
  for (let window = 0; window * size < hidden.length; window++) {
    signal?.throwIfAborted();
    const state = ops.fromF32(hidden.subarray(window * size, (window + 1) * size), [1, length, model.hiddenSize]);
    const logitsOf = (x: T) => ops.reshape(model.logits(runtime, x), [length, model.vocabularySize]);
    const targets = new Int32Array(length).fill(-1);
    if (labels === 'text') targets.set(ids.subarray(window * length + 1, (window + 1) * length));
    else {
      const logits = ops.scope(() => logitsOf(state));
      sampleLabels(
        await ops.data(logits),
        model.vocabularySize,
        random.fork(`labels of window ${first + window}`),
        targets,
      );
      ops.dispose(logits);
    }
    const tokens = targets.reduce((sum, target) => sum + (target >= 0 ? 1 : 0), 0);
    const { value, gradients } = ops.valueAndGradients(
      ({ x }) => ops.scale(ops.crossEntropy(logitsOf(x), targets), tokens),
      {
        x: state,
      },
    );
    gradient.set(await ops.data(gradients.x), window * size);
    for (const handle of [state, value, gradients.x]) ops.dispose(handle);
  }
  return gradient;
}

/** States `shape` before a block, and the derivatives by its output. */
interface BlockGradient {
  readonly hidden: Float32Array;
  readonly arriving: Float32Array;
  readonly shape: readonly number[];
}

/** Adds a zero to the output of each linear and takes the derivatives by the zeros. */
async function backwardThrough<T>(
  { ops }: Engine<T>,
  block: BlockDescription,
  runtime: Runtime<T>,
  { hidden, arriving, shape }: BlockGradient,
): Promise<{ gradients: Map<string, Float32Array>; byInput: Float32Array }> {
  const hiddenKey = 'hidden states';
  const [batch, length] = shape;
  const variables: Record<string, T> = { [hiddenKey]: ops.fromF32(hidden, shape) };
  for (const { module, outFeatures } of block.linears)
    variables[module] = ops.fromF32(new Float32Array(batch * length * outFeatures), [batch, length, outFeatures]);
  const weightOf = ops.fromF32(arriving, shape);
  const { value, gradients } = ops.valueAndGradients((zeros) => {
    const watched = wrapRuntime(runtime, {
      linear: (module, x, inner) => (zeros[module] ? ops.add(inner(module, x), zeros[module]) : inner(module, x)),
    });
    return ops.sum(ops.mul(runBlock(block, watched, zeros[hiddenKey]), weightOf));
  }, variables);
  const found = new Map<string, Float32Array>();
  for (const { module } of block.linears) found.set(module, await ops.data(gradients[module]));
  const byInput = (await ops.data(gradients[hiddenKey])).slice();
  for (const handle of [value, weightOf, ...Object.values(variables), ...Object.values(gradients)]) ops.dispose(handle);
  return { gradients: found, byInput };
}

/** Ids of windows `shape`, and the derivatives by the first block's input. */
interface LookedUp {
  readonly ids: Int32Array;
  readonly arriving: Float32Array;
  readonly shape: readonly [number, number];
}

/**
 * Derivatives by the looked-up rows of the token table `[tokens, width]`. The rows stand in for the table, and the ids
 * count them, so each token has a row of its own.
 */
async function rowGradient<T>(
  model: ModelDescription,
  { ops }: Engine<T>,
  runtime: Runtime<T>,
  { ids, arriving, shape: [count, length] }: LookedUp,
): Promise<Float32Array | undefined> {
  const { tokenTable: table, hiddenSize } = model;
  if (table === undefined) return undefined;
  const own = Int32Array.from(ids, (_, i) => i);
  const rows = ops.scope(() => {
    const found = ops.embed(runtime.weight(table), ids, count, length);
    return ops.reshape(found, [ids.length, ops.shape(found)[2]]);
  });
  const weightOf = ops.fromF32(arriving, [count, length, hiddenSize]);
  const { value, gradients } = ops.valueAndGradients(
    (variables) => {
      const byRows = wrapRuntime(runtime, {
        weight: (name, inner) => (name === table ? variables.rows : inner(name)),
      });
      return ops.sum(ops.mul(model.embed(byRows, own, count, length), weightOf));
    },
    { rows },
  );
  const found = (await ops.data(gradients.rows)).slice();
  for (const handle of [rows, weightOf, value, gradients.rows]) ops.dispose(handle);
  return found;
}

async function recordInputs<T>(
  block: BlockDescription,
  runtime: Runtime<T>,
  hidden: Float32Array,
  shape: readonly number[],
): Promise<Map<string, Float32Array>> {
  const { ops } = runtime;
  const kept = new Map<string, T>();
  const start = ops.fromF32(hidden, shape);
  const recording = wrapRuntime(runtime, {
    linear(module, x, inner) {
      // This is a copy, because the same input may serve several linears, and each handle is disposed of once.
      kept.set(module, ops.keep(ops.scale(x, 1)));
      return inner(module, x);
    },
  });
  const end = runBlock(block, recording, start);
  const inputs = new Map<string, Float32Array>();
  for (const [module, handle] of kept) inputs.set(module, (await ops.data(handle)).slice());
  for (const handle of [start, end, ...kept.values()]) ops.dispose(handle);
  return inputs;
}
