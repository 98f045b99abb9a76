import type { Activation, AttentionArgs } from '@q/core';

/** Plain f64 forms of the operations, written from their definitions. The engines are compared with them. */
export type Values = readonly number[];

export function linear(x: Values, weight: Values, bias: Values | undefined, inFeatures: number): number[] {
  const outFeatures = weight.length / inFeatures;
  const out: number[] = [];
  for (let token = 0; token < x.length / inFeatures; token++) {
    for (let o = 0; o < outFeatures; o++) {
      let sum = bias?.[o] ?? 0;
      for (let i = 0; i < inFeatures; i++) sum += x[token * inFeatures + i] * weight[o * inFeatures + i];
      out.push(sum);
    }
  }
  return out;
}

export function normalize(x: Values, gain: Values, bias: Values | undefined, epsilon: number, centre: boolean) {
  const width = gain.length;
  const out: number[] = [];
  for (let start = 0; start < x.length; start += width) {
    const row = x.slice(start, start + width);
    const mean = centre ? row.reduce((sum, value) => sum + value, 0) / width : 0;
    const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / width;
    row.forEach((value, j) => {
      out.push(((value - mean) / Math.sqrt(variance + epsilon)) * gain[j] + (bias?.[j] ?? 0));
    });
  }
  return out;
}

export const activations: Record<Activation, (x: number) => number> = {
  relu: (x) => Math.max(x, 0),
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
  tanh: Math.tanh,
  silu: (x) => x / (1 + Math.exp(-x)),
  gelu: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
  geluTanh: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
};

export function softmax(x: Values, width: number): number[] {
  const out: number[] = [];
  for (let start = 0; start < x.length; start += width) {
    const powers = x.slice(start, start + width).map(Math.exp);
    const sum = powers.reduce((a, b) => a + b);
    out.push(...powers.map((power) => power / sum));
  }
  return out;
}

export function scatterRows(x: Values, ids: readonly number[], count: number, width: number): number[] {
  const out = new Array<number>(count * width).fill(0);
  for (const [row, id] of ids.entries()) for (let j = 0; j < width; j++) out[id * width + j] += x[row * width + j];
  return out;
}

/** Maclaurin series; converges for every x that the tests use. */
function erf(x: number): number {
  let term = x;
  let sum = x;
  for (let n = 1; n < 200; n++) {
    term *= (-x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}

/** Sizes of a rotary embedding's input, `[batch, length, heads, headDim]`. */
interface RotaryCase {
  readonly length: number;
  readonly heads: number;
  readonly headDim: number;
  readonly theta: number;
  /** Features of a head that are rotated. Default: all. */
  readonly rotated?: number;
}

/** Rotates the first and the second half of each head's rotated features by the token's position. */
export function rotary(x: Values, { length, heads, headDim, theta, rotated = headDim }: RotaryCase): number[] {
  const out = [...x];
  const half = rotated / 2;
  for (let row = 0; row < x.length / headDim; row++) {
    const position = Math.floor(row / heads) % length;
    for (let j = 0; j < half; j++) {
      const angle = position * theta ** (-j / half);
      const first = x[row * headDim + j];
      const second = x[row * headDim + j + half];
      out[row * headDim + j] = first * Math.cos(angle) - second * Math.sin(angle);
      out[row * headDim + j + half] = second * Math.cos(angle) + first * Math.sin(angle);
    }
  }
  return out;
}

/** The settings of an attention, and the sizes of its inputs. */
export interface AttentionCase extends Omit<AttentionArgs<never>, 'q' | 'k' | 'v' | 'bias' | 'sinks'> {
  readonly batch: number;
  readonly length: number;
}

/** The values that an attention reads. */
interface AttentionInputs {
  /** `[batch, length, heads, headDim]` */
  readonly q: Values;
  /** `[batch, length, kvHeads, headDim]` */
  readonly k: Values;
  /** `[batch, length, kvHeads, headDim]` */
  readonly v: Values;
  /** `[heads, length, length]` */
  readonly bias?: Values;
  /** `[heads]` */
  readonly sinks?: Values;
}

/** Softmax attention, `[batch, length, heads, headDim]`. */
export function attention({ q, k, v, bias, sinks }: AttentionInputs, c: AttentionCase): number[] {
  const { batch, length, heads, kvHeads, headDim, causal = true } = c;
  const at = (b: number, t: number, h: number, of: number) => ((b * length + t) * of + h) * headDim;
  const out = new Array<number>(batch * length * heads * headDim).fill(0);
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      const shared = Math.floor(h / (heads / kvHeads));
      for (let i = 0; i < length; i++) {
        const scores: number[] = [];
        for (let j = 0; j < (causal ? i + 1 : length); j++) {
          if (c.window !== undefined && Math.abs(i - j) >= c.window) scores.push(Number.NEGATIVE_INFINITY);
          else {
            let dot = 0;
            for (let d = 0; d < headDim; d++) dot += q[at(b, i, h, heads) + d] * k[at(b, j, shared, kvHeads) + d];
            const score = dot * c.scale + (bias?.[(h * length + i) * length + j] ?? 0);
            scores.push(c.softCap === undefined ? score : c.softCap * Math.tanh(score / c.softCap));
          }
        }
        // The sink has a score and no value.
        if (sinks) scores.push(sinks[h]);
        const largest = Math.max(...scores);
        const weights = scores.map((score) => Math.exp(score - largest));
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        weights.slice(0, causal ? i + 1 : length).forEach((weight, j) => {
          for (let d = 0; d < headDim; d++) {
            out[at(b, i, h, heads) + d] += (weight / total) * v[at(b, j, shared, kvHeads) + d];
          }
        });
      }
    }
  }
  return out;
}

export function crossEntropy(logits: Values, targets: readonly number[], vocabulary: number): number {
  let sum = 0;
  let counted = 0;
  targets.forEach((target, row) => {
    if (target === -1) return;
    const values = logits.slice(row * vocabulary, (row + 1) * vocabulary);
    const largest = Math.max(...values);
    sum += largest + Math.log(values.reduce((total, x) => total + Math.exp(x - largest), 0)) - values[target];
    counted++;
  });
  return sum / counted;
}

/** Mean over rows of KL(p || q) from logits, by its definition. */
export function klDivergence(student: Values, teacher: Values, vocabulary: number): number {
  const logProbabilities = (logits: Values, row: number) => {
    const values = logits.slice(row * vocabulary, (row + 1) * vocabulary);
    const largest = Math.max(...values);
    const log = largest + Math.log(values.reduce((total, x) => total + Math.exp(x - largest), 0));
    return values.map((x) => x - log);
  };
  const rows = student.length / vocabulary;
  let sum = 0;
  for (let row = 0; row < rows; row++) {
    const [p, q] = [logProbabilities(teacher, row), logProbabilities(student, row)];
    p.forEach((logP, i) => {
      sum += Math.exp(logP) * (logP - q[i]);
    });
  }
  return sum / rows;
}
