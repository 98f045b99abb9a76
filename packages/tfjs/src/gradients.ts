import type { GradConfig, NamedAttrMap, Tensor } from '@tensorflow/tfjs-core';
import type { Tfjs } from './handle.js';

/**
 * Registers the gradients of the tfjs kernels that the operations use. Node can only load tfjs-core's CommonJS build,
 * and this build has the tape but registers no gradient. The package that registers gradients also loads layers,
 * converters and data loaders. Gradients that are registered already (tfjs-node) stay.
 */
export function registerGradients(tf: Tfjs): void {
  for (const gradient of gradients(tf)) {
    if (!tf.getGradient(gradient.kernelName)) tf.registerGradient(gradient);
  }
}

type Backward = (dy: Tensor, saved: Tensor[], attrs: NamedAttrMap) => Record<string, () => Tensor>;

function gradients(tf: Tfjs): GradConfig[] {
  /** A gradient that reads the inputs. */
  const fromInputs = (kernelName: string, inputsToSave: string[], backward: Backward): GradConfig => ({
    kernelName,
    inputsToSave,
    gradFunc: (dy, saved, attrs) => backward(dy as Tensor, saved, attrs),
  });
  /** A gradient that reads the result. */
  const fromOutput = (kernelName: string, backward: Backward): GradConfig => ({
    kernelName,
    outputsToSave: [true],
    gradFunc: (dy, saved, attrs) => backward(dy as Tensor, saved, attrs),
  });
  /** Reverses broadcasting: sums over the axes along which an operand was repeated. */
  const reduceTo = (dy: Tensor, shape: readonly number[]): Tensor => {
    const lead = dy.shape.length - shape.length;
    const axes = dy.shape.map((_, axis) => axis).filter((axis) => axis < lead || shape[axis - lead] !== dy.shape[axis]);
    return tf.reshape(axes.length > 0 ? tf.sum(dy, axes) : dy, [...shape]);
  };
  /** 1, 0 or -1: tfjs-wasm has no Sign. */
  const sign = (x: Tensor): Tensor => tf.sub(tf.cast(tf.greater(x, 0), 'float32'), tf.cast(tf.less(x, 0), 'float32'));
  const product = (a: Tensor, b: Tensor, transposeA: boolean, transposeB: boolean): Tensor =>
    tf.matMul(a, b, transposeA, transposeB);

  return [
    fromInputs('Identity', [], (dy) => ({ x: () => tf.clone(dy) })),
    fromInputs('Reshape', ['x'], (dy, [x]) => ({ x: () => tf.reshape(dy, x!.shape) })),
    fromInputs('Transpose', [], (dy, _, { perm }) => ({
      x: () => {
        const forward = perm as number[];
        const inverse = forward.map((_axis, axis) => forward.indexOf(axis));
        return tf.transpose(dy, inverse);
      },
    })),
    fromInputs('BatchMatMul', ['a', 'b'], (dy, [a, b], { transposeA, transposeB }) => {
      const [tA, tB] = [Boolean(transposeA), Boolean(transposeB)];
      return {
        a: () => reduceTo(tA ? product(b!, dy, tB, true) : product(dy, b!, false, !tB), a!.shape),
        b: () => reduceTo(tB ? product(dy, a!, true, tA) : product(a!, dy, !tA, false), b!.shape),
      };
    }),
    fromInputs('Add', ['a', 'b'], (dy, [a, b]) => ({
      a: () => reduceTo(dy, a!.shape),
      b: () => reduceTo(dy, b!.shape),
    })),
    fromInputs('Sub', ['a', 'b'], (dy, [a, b]) => ({
      a: () => reduceTo(dy, a!.shape),
      b: () => reduceTo(tf.neg(dy), b!.shape),
    })),
    fromInputs('Multiply', ['a', 'b'], (dy, [a, b]) => ({
      a: () => reduceTo(tf.mul(dy, b!), a!.shape),
      b: () => reduceTo(tf.mul(dy, a!), b!.shape),
    })),
    fromInputs('RealDiv', ['a', 'b'], (dy, [a, b]) => ({
      a: () => reduceTo(tf.div(dy, b!), a!.shape),
      b: () => reduceTo(tf.neg(tf.div(tf.mul(dy, a!), tf.square(b!))), b!.shape),
    })),
    fromInputs('Abs', ['x'], (dy, [x]) => ({ x: () => tf.mul(dy, sign(x!)) })),
    fromInputs('ClipByValue', ['x'], (dy, [x], { clipValueMin, clipValueMax }) => ({
      x: () => {
        const inside = tf.logicalAnd(
          tf.greaterEqual(x!, clipValueMin as number),
          tf.lessEqual(x!, clipValueMax as number),
        );
        return tf.mul(dy, tf.cast(inside, 'float32'));
      },
    })),
    fromInputs('Sum', ['x'], (dy, [x], { axis }) => ({
      x: () => {
        const axes = tf.util.parseAxisParam(axis as number | number[], x!.shape);
        const kept = x!.shape.map((size, position) => (axes.includes(position) ? 1 : size));
        return tf.mul(tf.ones(x!.shape), tf.reshape(dy, kept));
      },
    })),
    fromInputs('Mean', ['x'], (dy, [x], { axis }) => ({
      x: () => {
        const axes = tf.util.parseAxisParam(axis as number | number[], x!.shape);
        const kept = x!.shape.map((size, position) => (axes.includes(position) ? 1 : size));
        const averaged = axes.reduce((product, position) => product * x!.shape[position]!, 1);
        // A product with ones broadcasts fifty times as fast as wasm's Tile.
        return tf.mul(tf.ones(x!.shape), tf.reshape(tf.mul(dy, 1 / averaged), kept));
      },
    })),
    fromInputs('Square', ['x'], (dy, [x]) => ({ x: () => tf.mul(dy, tf.mul(x!, 2)) })),
    fromOutput('Rsqrt', (dy, [y]) => ({ x: () => tf.mul(dy, tf.mul(tf.mul(y!, tf.square(y!)), -0.5)) })),
    fromOutput('Sigmoid', (dy, [y]) => ({ x: () => tf.mul(dy, tf.sub(y!, tf.square(y!))) })),
    fromOutput('Relu', (dy, [y]) => ({ x: () => tf.mul(dy, tf.step(y!)) })),
    fromInputs('Erf', ['x'], (dy, [x]) => ({
      x: () => tf.mul(dy, tf.mul(tf.exp(tf.neg(tf.square(x!))), 2 / Math.sqrt(Math.PI))),
    })),
    fromOutput('Softmax', (dy, [y]) => ({
      logits: () => {
        const weighted = tf.mul(dy, y!);
        return tf.sub(weighted, tf.mul(tf.sum(weighted, -1, true), y!));
      },
    })),
    {
      kernelName: 'Concat',
      saveAllInputs: true,
      gradFunc: (dy, saved, { axis }) => {
        // The axis is the caller's value, so it may be negative: -1 is the last one.
        const [along] = tf.util.parseAxisParam(axis as number, (dy as Tensor).shape) as [number];
        const parts = tf.split(
          dy as Tensor,
          saved.map((x) => x.shape[along]!),
          along,
        );
        return Object.fromEntries(parts.map((part, index) => [index, () => part]));
      },
    },
    {
      kernelName: 'SplitV',
      gradFunc: (dy, _, { axis }) => ({ x: () => tf.concat(dy as Tensor[], axis as number) }),
    },
    fromInputs('Slice', ['x'], (dy, [x], { begin, size }) => ({
      x: () => {
        const [begins, sizes] = [begin as number[], size as number[]];
        const padding = x!.shape.map((full, axis): [number, number] => {
          const start = begins[axis] ?? 0;
          const taken = sizes[axis] ?? -1;
          return [start, taken === -1 ? 0 : full - start - taken];
        });
        return tf.pad(dy, padding);
      },
    })),
  ];
}
