import { createContext, scheme, uint2 } from '@q/core';
import { createEngine, type TfjsEngine } from '@q/tfjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { peqa } from './peqa.js';
import { qaft } from './qaft.js';
import { signRound } from './sign-round.js';
import { tinyModel, tinySource, tinyStart, tinyWindows } from './testing/tiny-model.js';

let engine: TfjsEngine;
beforeAll(async () => {
  engine = await createEngine({ backend: 'cpu' });
});
afterAll(() => engine.dispose());

const of = scheme({ format: uint2, zeroPoint: 'integer' });
const input = (count: number) => ({
  ...{ model: tinyModel, engine, source: tinySource, start: tinyStart(of), windows: tinyWindows(count) },
});

describe('memory of a training', () => {
  // q, k, v, o, gate, up, down of two blocks, a scale and a zero point a row.
  const weights = 2 * (16 * 16 + 8 * 16 + 8 * 16 + 16 * 16 + 24 * 16 + 24 * 16 + 16 * 24);
  const rows = 2 * (16 + 8 + 8 + 16 + 24 + 24 + 16);

  it('on the host is what shapes say', async () => {
    const { figures } = await qaft({ epochs: 1, batch: 4 }).tune(input(4), createContext());
    const parameters = weights + 2 * rows;
    expect(figures.trainedParameters).toBe(parameters);
    expect(figures.parametersBytes).toBe(4 * parameters + 2 * 4 * weights);
    expect(figures.gradientsBytes).toBe(4 * parameters + 4 * weights);
    expect(figures.optimizerBytes).toBe(8 * parameters);
    expect(figures.teacherBytes).toBe(4 * 4 * 12 * 16);
    for (const name of ['parameters', 'gradients', 'optimizer', 'teacher'])
      expect(figures[`${name}BytesPredicted`]).toBe(figures[`${name}Bytes`]);
  });

  it.each([
    ['all at once', qaft({ epochs: 1 })],
    ['from labels', qaft({ epochs: 1, loss: 'labels' })],
    ['block by block', qaft({ epochs: 1, checkpointing: true })],
    ['of scales', peqa({ epochs: 1 })],
    ['of one block', signRound({ steps: 1 })],
  ])('on the engine is foretold within half, %s', async (_, tuner) => {
    const { figures } = await tuner.tune(input(8), createContext());
    const ratio = figures.activationsBytes / figures.activationsBytesPredicted;
    expect(ratio).toBeGreaterThan(0.5);
    expect(ratio).toBeLessThan(1.5);
  });

  it('falls with the batch and with checkpointing', async () => {
    const bytes = async (batch: number, checkpointing: boolean) =>
      (await qaft({ epochs: 1, batch, checkpointing }).tune(input(8), createContext())).figures.activationsBytes;
    expect(await bytes(4, false)).toBeLessThan(0.6 * (await bytes(8, false)));
    expect(await bytes(8, true)).toBeLessThan(0.6 * (await bytes(8, false)));
  });
});
