import { type BackendChoice, createEngine, type TfjsEngine } from '@q/tfjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { measureReferenceFigures, type ReferenceFigures, sharedModels } from './reference-figures.js';
import { sharedFolder } from './shared-model.js';

/** The checks of the native engine name node. */
const [backend] = (process.env['Q_TEST_BACKENDS'] ?? 'wasm').split(',') as [BackendChoice];

describe.each(sharedModels)('%s against PyTorch', (name) => {
  const folder = sharedFolder('models', name);
  describe.skipIf(!folder)('', () => {
    let engine: TfjsEngine;
    let figures: ReferenceFigures;
    beforeAll(async () => {
      engine = await createEngine({ backend });
      figures = await measureReferenceFigures(engine, folder!);
    });
    afterAll(() => engine?.dispose());

    it('has its logits', () => {
      expect(figures.logitsDifference).toBeLessThanOrEqual(5e-4);
    });
    it('has its hidden states', () => {
      // The reference summed its squares in f32.
      expect(figures.hiddenNormDifference).toBeLessThan(5e-6);
    });
    it('has its perplexity on the fixed windows', () => {
      expect(figures.nllFirstWindow).toBeCloseTo(figures.reference.nllFirstWindow, 5);
      expect(Math.abs(figures.perplexity / figures.reference.perplexity - 1)).toBeLessThan(5e-4);
    });
    it('writes what it writes', () => {
      expect(figures.promptTokens).toEqual(figures.reference.promptTokens);
      expect(figures.greedyTokens).toEqual(figures.reference.greedyTokens);
    });
    it('leaves nothing but shared tables on the engine', () => {
      // One mask, and for rotary positions three tables.
      expect(figures.leaked).toBe(name === 'llama-5m' ? 4 : 1);
    });
  });
});
