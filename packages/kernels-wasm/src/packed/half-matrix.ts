import { type HalfMatrix, QuantError, ShapeError, tensor, toF32 } from '@q/core';
import type { Heap } from '../forward/heap.js';
import type { PackedMatrix } from '../forward/packed-matrix.js';
import { blockDepth, panelRows, tilePanels } from '../matmul.js';
import type { Pool } from '../pool.js';
import { createScratch } from './scratch.js';

/** Outputs of a panel of `assembly/half-products.ts`. */
const panelOutputs = 32;

/** Values that are read at a time. */
const valuesAtOnce = 1 << 20;

/**
 * A matrix whose values stay in 16 bits in the pool's memory. Products and rows have the bits that they have with its
 * f32 values.
 * @throws ShapeError when rows do not have as many values as its shape says
 */
export async function loadHalfMatrix(pool: Pool, heap: Heap, matrix: HalfMatrix): Promise<PackedMatrix> {
  const { dtype, shape } = matrix;
  const [outFeatures, inFeatures] = shape;
  const { during, outputs, floats } = createScratch(pool, heap);
  const panels = Math.ceil(outFeatures / panelOutputs);
  const stride = panels * panelOutputs;
  const exponentBits = dtype === 'f16' ? 5 : 8;
  const grain = Math.max(1, Math.min(16, Math.ceil(panels / (8 * pool.threads))));
  const address = heap.allocate(2 * stride * inFeatures);
  const patterns = () => new Uint16Array(pool.memory.buffer, address, stride * inFeatures);
  try {
    await fillPanels(matrix, patterns);
  } catch (error) {
    heap.free(address);
    throw error;
  }
  let disposed = false;

  function one(x: number, out: number, bias: number): void {
    outputs({ tokens: 1, width: outFeatures, rows: 1, stride }, out, (y) => {
      pool.run('halfVector', [x, address, exponentBits, inFeatures, bias, y], panels, grain);
    });
  }

  function many(x: number, tokens: number, out: number, bias: number): void {
    const rowPanels = Math.ceil(tokens / panelRows);
    const rows = rowPanels * panelRows;
    during([4 * rows * inFeatures, 4 * pool.threads * blockDepth * panelOutputs], (a, decoded) => {
      pool.run('packA', [x, inFeatures, 1, tokens, inFeatures, a], rowPanels, tilePanels);
      outputs({ tokens, width: outFeatures, rows, stride }, out, (y) => {
        const args = [a, address, exponentBits, inFeatures, bias, y, rows, stride, decoded];
        pool.run('halfPanels', args, panels, grain);
      });
    });
  }

  /** Runs `compute` with a bias as wide as the panels, which kernels read to their ends. */
  function withWideBias(bias: number, compute: (wide: number) => void): void {
    if (bias === 0 || stride === outFeatures) compute(bias);
    else
      during([4 * stride], (wide) => {
        floats(wide, stride).fill(0).set(floats(bias, outFeatures));
        compute(wide);
      });
  }

  return {
    outFeatures,
    inFeatures,
    product(x, tokens, out, bias) {
      if (disposed) throw new QuantError('this weight of 16 bits is disposed: load it again');
      if (tokens === 0) return;
      withWideBias(bias, (wide) => {
        if (tokens === 1) one(x, out, wide);
        else many(x, tokens, out, wide);
      });
    },
    row(index, into) {
      const stored = patterns();
      const row = new Uint16Array(inFeatures);
      for (let i = 0, at = placeOf(index, inFeatures); i < inFeatures; i++, at += panelOutputs) row[i] = stored[at];
      toF32(tensor(dtype, [inFeatures], row), into);
    },
    dispose() {
      if (!disposed) heap.free(address);
      disposed = true;
    },
  };
}

/** Where the first pattern of an output is: the next ones follow at distances of `panelOutputs`. */
function placeOf(output: number, inFeatures: number): number {
  const place = output % panelOutputs;
  const ofEight = place % 8;
  const word = (place - ofEight) / 2 + (ofEight % 4);
  return (output - place) * inFeatures + 2 * word + (ofEight >> 2);
}

/** Puts rows into panels; the outputs of the last panel that do not exist are zero. */
async function fillPanels({ shape, rows }: HalfMatrix, panels: () => Uint16Array): Promise<void> {
  const [outFeatures, inFeatures] = shape;
  panels().fill(0, (outFeatures - (outFeatures % panelOutputs)) * inFeatures);
  const atOnce = Math.max(1, Math.floor(valuesAtOnce / inFeatures));
  for (let first = 0; first < outFeatures; first += atOnce) {
    const end = Math.min(first + atOnce, outFeatures);
    const from = await rows(first, end);
    if (from.length !== (end - first) * inFeatures)
      throw new ShapeError(`rows ${first} to ${end} of a matrix [${shape}] have ${from.length} values`);
    // The memory may have grown while the rows were read.
    const to = panels();
    for (let row = first, i = 0; row < end; row++)
      for (let at = placeOf(row, inFeatures), stop = i + inFeatures; i < stop; at += panelOutputs) to[at] = from[i++];
  }
}
