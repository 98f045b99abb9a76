import { type QuantizedTensor, type QuantizeResult, type Scheme, type Tensor, tensor } from '@q/core';

/**
 * Weights that a solver works on at a time. A solver needs several copies of its weight, and a head may have 262,144
 * rows.
 */
const mostWeights = 2 ** 24;

/**
 * Quantizes a matrix with many independent rows, such as an output projection, in parts. The result equals that of the
 * whole matrix.
 * @param work quantizes some of the rows
 * @param most weights of a part
 */
export async function inRows(
  weight: Tensor<'f32'>,
  scheme: Scheme,
  work: (part: Tensor<'f32'>) => Promise<QuantizeResult>,
  most = mostWeights,
): Promise<QuantizeResult> {
  const [rows = 0, columns = 0] = weight.shape;
  const height = Math.max(1, Math.floor(most / columns));
  const { kind } = scheme.granularity;
  const apart = (kind === 'group' || kind === 'channel') && !scheme.scaleStorage.store(new Float32Array(1)).parts;
  if (rows <= height || !apart) return work(weight);
  const parts: QuantizeResult[] = [];
  for (let top = 0; top < rows; top += height) {
    const count = Math.min(height, rows - top);
    parts.push(
      await work(tensor('f32', [count, columns], weight.data.subarray(top * columns, (top + count) * columns))),
    );
  }
  const [{ quantized, report }] = parts as [QuantizeResult];
  // Results with more than codes and scales (a codebook, an order of columns, a target) exist only for the whole
  // matrix.
  if (parts.some((part) => part.target || part.quantized.codebook || part.quantized.groupIndex)) return work(weight);
  const { storedScales: _, ...first } = quantized;
  const joined: QuantizedTensor = {
    ...first,
    shape: weight.shape,
    codes: concat(parts.map((part) => part.quantized.codes as Uint8Array)),
    scales: concat(parts.map((part) => part.quantized.scales)),
    ...(quantized.zeroPoints
      ? { zeroPoints: concat(parts.map((part) => part.quantized.zeroPoints as Float32Array)) }
      : {}),
  };
  const notes = [...new Set(parts.flatMap((part) => part.report.notes))];
  return { quantized: joined, report: { ...report, figures: figuresOf(parts), notes } };
}

/** Losses are sums over rows. Other figures of a module are those of its worst part. */
function figuresOf(parts: readonly QuantizeResult[]): Record<string, number> {
  const figures: Record<string, number> = {};
  for (const { report } of parts)
    for (const [name, value] of Object.entries(report.figures))
      figures[name] = /loss/i.test(name)
        ? (figures[name] ?? 0) + value
        : Math.max(figures[name] ?? Number.NEGATIVE_INFINITY, value);
  return figures;
}

function concat<A extends Uint8Array | Uint16Array | Float32Array>(parts: readonly A[]): A {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const [first] = parts as [A];
  const out = new (first.constructor as new (length: number) => A)(length);
  let at = 0;
  for (const part of parts) {
    out.set(part as never, at);
    at += part.length;
  }
  return out;
}
