import type { Windows } from '@q/calib';
import type { Checkpoint } from '@q/checkpoint';
import {
  createContext,
  dequantize,
  f32Scale,
  type Kernels,
  type Ops,
  perToken,
  quantize,
  type RuntimeWrapper,
  scheme,
  tensor,
  unsignedIntegers,
} from '@q/core';
import { evaluate, runWindows } from '@q/eval';
import { describeModel, wrapRuntime } from '@q/models';
import { rotate, rotateKeys, rotateMlpInner } from '@q/rotate';
import { createEngine } from '@q/tfjs';

export interface RoundedLine {
  readonly what: string;
  readonly rotations: string;
  readonly kl: number;
}

/** Everything that one line of the table rounds, with the bits. */
interface Rounded {
  readonly what: string;
  /** Bits of the inputs of the blocks' linears, per token. */
  readonly activations?: number;
  /** Bits of keys after positions and of values, per token and head. */
  readonly cache?: number;
}

const lines: readonly Rounded[] = [
  { what: 'activations 8 bits', activations: 8 },
  { what: 'activations 4 bits', activations: 4 },
  { what: 'cache 4 bits', cache: 4 },
  { what: 'cache 3 bits', cache: 3 },
  { what: 'cache 2 bits', cache: 2 },
  { what: 'activations and cache 4', activations: 4, cache: 4 },
];

/**
 * Measures the KL of a model whose activations or cache are rounded during the forward pass, without rotations and with
 * them.
 */
export async function* measureRounded(
  { model: plain, config, weight }: Checkpoint,
  valid: Windows,
  kernels: Kernels,
  count: number,
): AsyncGenerator<RoundedLine> {
  if (!plain) throw new Error('the architecture is not known');
  const windows = { ...valid, count, ids: valid.ids.subarray(0, count * valid.length) };
  const engine = await createEngine({ kernels });
  const { ops } = engine;
  const original = await runWindows(plain, engine, weight, windows);
  for (const line of lines) {
    const rounding = roundingWrapper(ops, plain.blocks[0].attention?.headDim ?? 0, line);
    const wrapped = await runWindows(plain, engine, weight, windows, {
      wrap: (runtime) => wrapRuntime(runtime, rounding as RuntimeWrapper<any>),
    });
    yield { what: line.what, rotations: 'none', kl: (await evaluate(wrapped, windows, { against: original })).kl ?? 0 };
    for (const online of [false, true]) {
      const { random } = createContext({ seed: 0 });
      const rewritten = rotate({ mlpInner: online }).apply(plain, { weight }, { random, kernels });
      const model = describeModel({ ...config, ...rewritten.config });
      const turning = online ? [rotateKeys(model, ops, random), rotateMlpInner(model, ops, random)] : [];
      const rotated = await runWindows(model, engine, (name) => rewritten.weight(name), windows, {
        wrap: (runtime) =>
          [rounding, ...turning].reduce((inner, each) => wrapRuntime(inner, each as RuntimeWrapper<any>), runtime),
      });
      const { kl = Number.NaN } = await evaluate(rotated, windows, { against: original });
      for (const each of turning) each.dispose();
      yield { what: line.what, rotations: online ? 'R1 to R4' : 'R1, R2', kl };
    }
  }
  await engine.dispose();
}

function roundingWrapper<T>(ops: Ops<T>, headDim: number, { activations, cache }: Rounded): RuntimeWrapper<T> {
  const round = (bits: number, width: number, x: T): T => {
    const data = ops.dataSync(x);
    const target = scheme({
      format: unsignedIntegers[bits - 2],
      granularity: perToken,
      zeroPoint: 'integer',
      scaleStorage: f32Scale,
    });
    const rounded = dequantize(quantize(tensor('f32', [data.length / width, width], data), target));
    return ops.fromF32(rounded.data, ops.shape(x));
  };
  return {
    linear: (module, x, inner) =>
      inner(module, activations && module !== 'lm_head' ? round(activations, ops.shape(x).at(-1) as number, x) : x),
    cache: (site, x, inner) => inner(site, cache && site.stage === 'afterRope' ? round(cache, headDim, x) : x),
  };
}
