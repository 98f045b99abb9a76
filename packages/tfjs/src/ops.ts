import { type Activation, type DifferentiableOps, type RotaryTable, ShapeError, toF32 } from '@q/core';
import type { Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import { attention, attentionMask } from './attention.js';
import { differentiableAttention } from './attention-gradient.js';
import { crossEntropy } from './cross-entropy.js';
import type { Tfjs } from './handle.js';
import { klDivergence } from './kl-divergence.js';
import { reversePass } from './reverse-pass.js';
import { createRotaryTensors, type RotaryTensors, rotary } from './rotary.js';

/**
 * Three copies of these are alive (scores, masked, softmax): 32 heads over 2,048 tokens would fill 1.5 GB of a heap that
 * ends at 4 GB.
 */
const defaultScoresAtOnce = 1 << 20;

/** Tables and masks that forward passes share. One length of each is kept. */
export interface SharedTensors {
  rotary(table: RotaryTable, length: number): RotaryTensors;
  mask(length: number, window: number, causal: boolean): Tensor;
  /** Bytes of the tables and masks that are kept now. */
  readonly bytes: number;
  dispose(): void;
}

/**
 * The operations on tfjs. Every one is differentiable. tfjs differentiates an operation if its gradient runs on all
 * backends; otherwise the gradient is written here (`gather` needs UnsortedSegmentSum, which wasm lacks and cpu does in
 * quadratic time).
 * @param scoresAtOnce scores of attention that exist at a time, unless one key head has more
 */
export function createOps(
  tf: Tfjs,
  shared: SharedTensors,
  scoresAtOnce: number = defaultScoresAtOnce,
): DifferentiableOps<Tensor> {
  const fromF32 = (data: Float32Array, shape: readonly number[]) => tf.tensor(data, [...shape], 'float32');
  return {
    fromTensor: (tensor) => fromF32(toF32(tensor), tensor.shape),
    fromF32,
    shape: (x) => x.shape,
    data: async (x) => asF32(await x.data()),
    dataSync: (x) => asF32(x.dataSync()),
    scope: <R>(f: () => R) => tf.tidy(f as () => Tensor) as R,
    keep: (x) => tf.keep(x),
    dispose: (x) => x.dispose(),

    embed: (table, ids, batch, length) => tf.reshape(gatherRows(tf, table, ids), [batch, length, table.shape[1]!]),
    linear: (x, weight, bias) => linear(tf, x, weight, bias),
    add: (a, b) => tf.add(a, b),
    mul: (a, b) => tf.mul(a, b),
    scale: (a, factor) => tf.mul(a, factor),
    rmsNorm: (x, gain, epsilon) =>
      tf.tidy(() => tf.mul(tf.mul(x, tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), epsilon))), gain)),
    layerNorm: (x, gain, bias, epsilon) =>
      tf.tidy(() => {
        const centred = tf.sub(x, tf.mean(x, -1, true));
        const scaled = tf.mul(tf.mul(centred, tf.rsqrt(tf.add(tf.mean(tf.square(centred), -1, true), epsilon))), gain);
        return bias ? tf.add(scaled, bias) : scaled;
      }),
    activation: (kind, x) => tf.tidy(() => activations[kind](tf, x)),
    softmax: (x) => tf.softmax(x),
    split: (x, sizes) => tf.split(x, [...sizes], -1),
    rotary: (x, heads, table, start = 0) =>
      tf.tidy(() => rotary(tf, x, heads, shared.rotary(table, start + x.shape[1]!), start)),
    attention: (args) => {
      const [queries, keys] = [args.q.shape[1]!, args.k.shape[1]!];
      // A window as long as the sequence hides no key, so such a window uses the mask without a window.
      const window = Math.min(args.window ?? keys, keys);
      const causal = args.causal ?? true;
      // The last query sees every key, except those that a window hides.
      const mask = (queries === 1 || !causal) && window === keys ? undefined : shared.mask(keys, window, causal);
      const training = tf.engine().state.gradientDepth > 0;
      const plain = causal && !args.bias && !args.sinks && args.softCap === undefined;
      if (training && mask && plain && queries === keys) return tf.tidy(() => differentiableAttention(tf, args, mask));
      return tf.tidy(() =>
        attention(
          tf,
          args,
          mask && queries < keys ? tf.slice(mask, [keys - queries, 0], [queries, keys]) : mask,
          scoresAtOnce,
        ),
      );
    },
    append: (a, b) => tf.concat([a, b], 1),
    rows: (x, start, count) => tf.slice(x, [start], [count]),
    scatterRows: (x, ids, count) => scatterRows(tf, x, ids, count),
    reshape: (x, shape) => tf.reshape(x, [...shape]),
    transpose: (x) => {
      const outer = Array.from({ length: x.rank - 2 }, (_, axis) => axis);
      return tf.transpose(x, [...outer, x.rank - 1, x.rank - 2]);
    },

    valueAndGradients: (f, variables) => valueAndGradients(tf, f, variables),
    crossEntropy: (logits, targets) => tf.tidy(() => crossEntropy(tf, logits, targets)),
    klDivergence: (student, teacher) => tf.tidy(() => klDivergence(tf, student, teacher)),
    sub: (a, b) => tf.sub(a, b),
    div: (a, b) => tf.div(a, b),
    abs: (x) => tf.abs(x),
    sum: (x) => tf.sum(x),
    round: (x) => tf.customGrad((v) => ({ value: tf.round(v as Tensor), gradFunc: (dy: Tensor) => dy }))(x),
    clip: (x, min, max) => tf.clipByValue(x, min, max),
    rowMax: (x) => {
      // The gradient reads the shape only: `x` itself may be disposed of before the backward pass.
      const { shape } = x;
      return tf.customGrad((v) => ({ value: tf.max(v as Tensor, -1, true), gradFunc: () => tf.zeros(shape) }))(x);
    },
  };
}

/** @see SharedTensors; each is kept until another length replaces it or it is disposed of. */
export function createSharedTensors(tf: Tfjs): SharedTensors {
  const tables = new Map<RotaryTable, { length: number; tensors: RotaryTensors }>();
  const masks = new Map<string, { length: number; mask: Tensor }>();
  let bytes = 0;
  const keep = <X extends Tensor>(x: X): X => {
    bytes += 4 * x.size;
    return tf.keep(x);
  };
  const forget = (x: Tensor) => {
    bytes -= 4 * x.size;
    x.dispose();
  };
  const release = (tensors: RotaryTensors) => (Object.values(tensors) as Tensor[]).forEach(forget);
  return {
    rotary(table, length) {
      const present = tables.get(table);
      if (present?.length === length) return present.tensors;
      if (present) release(present.tensors);
      const tensors = createRotaryTensors(tf, table, length);
      (Object.values(tensors) as Tensor[]).forEach(keep);
      tables.set(table, { length, tensors });
      return tensors;
    },
    mask(length, window, causal) {
      const key = `${causal ? 'causal' : 'both'} ${window === length ? 'full' : window}`;
      const present = masks.get(key);
      if (present?.length === length) return present.mask;
      if (present) forget(present.mask);
      const mask = keep(tf.tensor2d(attentionMask(length, window, causal), [length, length]));
      masks.set(key, { length, mask });
      return mask;
    },
    get bytes() {
      return bytes;
    },
    dispose() {
      for (const { tensors } of tables.values()) release(tensors);
      for (const { mask } of masks.values()) forget(mask);
      tables.clear();
      masks.clear();
    },
  };
}

function linear(tf: Tfjs, x: Tensor, weight: Tensor, bias: Tensor | undefined): Tensor {
  const [outFeatures, inFeatures] = weight.shape as [number, number];
  const outer = x.shape.slice(0, -1);
  if (x.shape.at(-1) !== inFeatures) {
    throw new ShapeError(`linear: input [${x.shape}] does not fit the weight [${weight.shape}] ([out, in])`);
  }
  return tf.tidy(() => {
    const flat = tf.reshape(x, [-1, inFeatures]) as Tensor2D;
    const matrix = weight as Tensor2D;
    // The fused form computes the gradients of both operands even when one of them is frozen.
    const training = tf.engine().state.gradientDepth > 0;
    let y: Tensor;
    if (training || !bias) {
      y = tf.matMul(flat, matrix, false, true);
      if (bias) y = tf.add(y, bias);
    } else {
      y = tf.fused.matMul({ a: flat, b: matrix, transposeB: true, bias });
    }
    return tf.reshape(y, [...outer, outFeatures]);
  });
}

function gatherRows(tf: Tfjs, table: Tensor, ids: Int32Array): Tensor {
  const [rows, width] = table.shape as [number, number];
  for (let i = 0; i < ids.length; i++) {
    if (!(ids[i]! >= 0 && ids[i]! < rows)) {
      throw new ShapeError(`embed: id ${ids[i]} at position ${i} is not in a table of ${rows} rows`);
    }
  }
  return tf.tidy(() => {
    const gather = tf.customGrad((x) => ({
      value: tf.gather(x as Tensor, tf.tensor1d(ids, 'int32')),
      gradFunc: (dy: Tensor) => tf.scatterND(tf.tensor2d(ids, [ids.length, 1], 'int32'), dy, [rows, width]),
    }));
    return gather(table);
  });
}

/** The transpose of {@link gatherRows}: each one is the other's gradient. */
function scatterRows(tf: Tfjs, x: Tensor, ids: Int32Array, count: number): Tensor {
  const [rows, width] = x.shape as [number, number];
  if (ids.length !== rows) throw new ShapeError(`scatterRows: ${ids.length} ids for ${rows} rows`);
  for (let i = 0; i < ids.length; i++) {
    if (!(ids[i]! >= 0 && ids[i]! < count)) {
      throw new ShapeError(`scatterRows: id ${ids[i]} at position ${i} is not among ${count} rows`);
    }
  }
  return tf.tidy(() => {
    const scatter = tf.customGrad((values) => ({
      value: tf.scatterND(tf.tensor2d(ids, [rows, 1], 'int32'), values as Tensor, [count, width]),
      gradFunc: (dy: Tensor) => tf.gather(dy, tf.tensor1d(ids, 'int32')),
    }));
    return scatter(x);
  });
}

/** `y = x s` with `s = sigmoid(x)`. The derivative `s + y (1 - s)` needs only these two values. */
function silu(tf: Tfjs, x: Tensor): Tensor {
  const gated = tf.customGrad((values, save) => {
    const s = tf.sigmoid(values as Tensor);
    const y: Tensor = tf.mul(values as Tensor, s);
    (save as unknown as (tensors: Tensor[]) => void)([s, y]);
    return {
      value: y,
      gradFunc: (dy: Tensor, [s, y]: Tensor[]) => tf.mul(dy, tf.sub(tf.add(s!, y!), tf.mul(s!, y!))),
    };
  });
  return gated(x);
}

const activations: Record<Activation, (tf: Tfjs, x: Tensor) => Tensor> = {
  relu: (tf, x) => tf.relu(x),
  sigmoid: (tf, x) => tf.sigmoid(x),
  // Computed from sigmoid, because the gradient of sigmoid runs on all backends.
  tanh: (tf, x) => tf.sub(tf.mul(tf.sigmoid(tf.mul(x, 2)), 2), 1),
  silu,
  gelu: (tf, x) => tf.mul(tf.mul(x, 0.5), tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1)),
  // (1 + tanh u) / 2 is sigmoid(2u). wasm has a vectorised sigmoid: 0.7 ms instead of 11 ms for a million values.
  geluTanh: (tf, x) => {
    const inner = tf.mul(x, tf.add(tf.mul(tf.square(x), 0.044715), 1));
    return tf.mul(x, tf.sigmoid(tf.mul(inner, 2 * Math.sqrt(2 / Math.PI))));
  },
};

function valueAndGradients(
  tf: Tfjs,
  f: (variables: Readonly<Record<string, Tensor>>) => Tensor,
  variables: Readonly<Record<string, Tensor>>,
): { value: Tensor; gradients: Record<string, Tensor> } {
  const names = Object.keys(variables);
  return tf.tidy(() => {
    const inputs = names.map((name) => variables[name]!);
    const { value, derivatives } = reversePass(tf, () => f(variables), inputs);
    if (value.size !== 1) throw new ShapeError(`valueAndGradients needs a scalar, the function gave [${value.shape}]`);
    const gradients = Object.fromEntries(
      // A variable that the function does not use has no derivative on the tape. Its derivative is zero.
      names.map((name, index) => [name, derivatives[index] ?? tf.zerosLike(inputs[index]!)]),
    );
    return { value, gradients };
  });
}

function asF32(data: ArrayLike<number>): Float32Array {
  return data instanceof Float32Array ? data : Float32Array.from(data);
}
