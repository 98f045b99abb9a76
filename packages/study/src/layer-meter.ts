import {
  type Context,
  type Engine,
  type ModelDescription,
  ShapeError,
  type TokenWindows,
  type WeightSource,
} from '@q/core';
import { outputGradients } from '@q/end-loss';
import type { WeightPoint } from './weight-point.js';

export interface LayerErrors {
  /** Squared error of the outputs per token, summed over the linears. */
  readonly plain: number;
  /**
   * `tr(G D H D^T)` per token, summed over the linears. H is the second moments of the inputs, with each token weighted
   * by the mean squared derivative of the end loss at the linear's outputs. G is the second moments of these
   * derivatives, with mean diagonal 1. This estimates twice the KL divergence that the layers cause (YAQA, arXiv
   * 2505.22988).
   */
  readonly weighted: number;
  /** Errors of each linear, by module. */
  readonly modules: ReadonlyMap<string, { readonly plain: number; readonly weighted: number }>;
}

/** Measures the layer errors of weights on the inputs of the unquantized model's linears. */
export interface LayerMeter {
  /** @throws ShapeError when a module has another size */
  measure(point: WeightPoint): LayerErrors;
}

export interface LayerMeterOptions<T> {
  readonly model: ModelDescription;
  readonly engine: Engine<T>;
  readonly source: WeightSource;
  readonly windows: TokenWindows;
  readonly batch?: number;
}

/**
 * Makes a meter with one pass over the windows. It keeps two matrices `[in, in]` and one `[out, out]` in f32 for each
 * linear.
 */
export async function createLayerMeter<T>(options: LayerMeterOptions<T>, context: Context): Promise<LayerMeter> {
  const { model, source, windows } = options;
  const tokens = windows.count * windows.length;
  const linears = new Map(model.blocks.flatMap((block) => block.linears).map((linear) => [linear.module, linear]));
  const sums = new Map<string, { plain: Float32Array; weighted: Float32Array; outputs: Float32Array }>();
  await outputGradients(
    { ...options, inputs: true },
    async ({ module, gradient, input }) => {
      const { inFeatures: width, outFeatures } = linears.get(module) as { inFeatures: number; outFeatures: number };
      const x = input as Float32Array;
      let own = sums.get(module);
      if (!own) {
        const matrix = (size: number) => new Float32Array(size ** 2);
        own = { plain: matrix(width), weighted: matrix(width), outputs: matrix(outFeatures) };
        sums.set(module, own);
      }
      await context.kernels.gram({ x: gradient, tokens: x.length / width, width: outFeatures, out: own.outputs });
      await context.kernels.gram({ x, tokens: x.length / width, width, out: own.plain });
      const scaled = scaleTokens(x, width, gradient, outFeatures);
      await context.kernels.gram({ x: scaled, tokens: x.length / width, width, out: own.weighted });
    },
    context,
  );
  const originals = new Map<string, Float32Array>();
  for (const module of linears.keys()) originals.set(module, (await source.weight(`${module}.weight`)).data.slice());
  return {
    measure(point) {
      const modules = new Map<string, { plain: number; weighted: number }>();
      let [plain, weighted] = [0, 0];
      for (const [module, values] of point) {
        const own = sums.get(module);
        const original = originals.get(module);
        if (!own || original?.length !== values.length)
          throw new ShapeError(`${module}: expected a linear of a block with ${original?.length ?? 0} weights`);
        const width = Math.sqrt(own.plain.length);
        const difference = values.map((value, i) => value - original[i]);
        const errors = {
          plain: quadratic(difference, own.plain, width) / tokens,
          weighted: twoSided(difference, own.weighted, width, own.outputs) / tokens,
        };
        modules.set(module, errors);
        plain += errors.plain;
        weighted += errors.weighted;
      }
      return { plain, weighted, modules };
    },
  };
}

/** Inputs times the square root of their token's weight. */
function scaleTokens(x: Float32Array, width: number, gradient: Float32Array, outputs: number): Float32Array {
  const scaled = new Float32Array(x.length);
  for (let token = 0; token * width < x.length; token++) {
    let sum = 0;
    for (let j = token * outputs; j < (token + 1) * outputs; j++) sum += gradient[j] * gradient[j];
    const root = Math.sqrt(sum / outputs);
    for (let i = token * width; i < (token + 1) * width; i++) scaled[i] = x[i] * root;
  }
  return scaled;
}

/** `trace(D H D^T)` for D `[rows, width]`. */
function quadratic(d: Float32Array, h: Float32Array, width: number): number {
  let sum = 0;
  const product = new Float64Array(width);
  for (let start = 0; start < d.length; start += width) {
    product.fill(0);
    for (let i = 0; i < width; i++) {
      const value = d[start + i];
      if (value === 0) continue;
      const row = i * width;
      for (let j = 0; j < width; j++) product[j] += value * h[row + j];
    }
    for (let j = 0; j < width; j++) sum += product[j] * d[start + j];
  }
  return sum;
}

/** `trace(G D H D^T)` for D `[rows, width]` and G `[rows, rows]` scaled to mean diagonal 1. */
function twoSided(d: Float32Array, h: Float32Array, width: number, g: Float32Array): number {
  const rows = d.length / width;
  let trace = 0;
  for (let i = 0; i < rows; i++) trace += g[i * rows + i];
  // The end loss does not depend on the linear.
  if (!(trace > 0)) return 0;
  const mixed = new Float64Array(width);
  let sum = 0;
  for (let row = 0; row < rows; row++) {
    mixed.fill(0);
    for (let other = 0; other < rows; other++) {
      const factor = g[row * rows + other];
      if (factor === 0) continue;
      for (let i = 0; i < width; i++) mixed[i] += factor * d[other * width + i];
    }
    for (let i = 0; i < width; i++) {
      const value = d[row * width + i];
      if (value === 0) continue;
      let product = 0;
      for (let j = 0; j < width; j++) product += h[i * width + j] * mixed[j];
      sum += value * product;
    }
  }
  return (sum * rows) / trace;
}
