import { createEngine, type Handle, type TfjsEngine } from '@q/tfjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { forward, greedy } from './run.js';
import {
  hiddenNorms,
  type LoadedModel,
  loadFolder,
  type Reference,
  readJson,
  readReferenceLogits,
  readWindows,
  sharedFolder,
  windowLosses,
} from './testing/shared-model.js';
import { loadTokenizer } from './tokenizer.js';

const names = ['llama-5m', 'gpt2-3m', 'opt-3m'];

describe.each(names)('%s against PyTorch', (name) => {
  const folder = sharedFolder('models', name);
  describe.skipIf(!folder)('', () => {
    let engine: TfjsEngine;
    let loaded: LoadedModel<Handle>;
    let reference: Reference;
    let ids: Int32Array;
    beforeAll(async () => {
      engine = await createEngine({ backend: 'wasm' });
      loaded = await loadFolder(engine.ops, folder!);
      reference = await readJson<Reference>(folder!, 'reference.json');
      ids = await readWindows(folder!);
    });
    afterAll(async () => {
      loaded?.dispose();
      await engine?.dispose();
    });

    it('has its logits', async () => {
      const expected = await readReferenceLogits(folder!);
      const { model, runtime } = loaded;
      const logits = forward(model, runtime, ids.subarray(0, reference.length), 1, reference.length);
      const actual = (await engine.ops.data(logits)).subarray(0, expected.length);
      engine.ops.dispose(logits);
      const largest = actual.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i]!)), 0);
      expect(largest).toBeLessThanOrEqual(5e-4);
    });

    it('has its hidden states', () => {
      const norms = hiddenNorms(loaded, ids.subarray(0, reference.length));
      expect(norms.length).toBe(reference.hiddenNorms.length);
      norms.forEach((norm, i) => {
        // The reference summed its squares in f32.
        expect(Math.abs(norm / reference.hiddenNorms[i]! - 1)).toBeLessThan(5e-6);
      });
    });

    it('has its perplexity on the fixed windows, and holds nothing afterwards', async () => {
      const before = engine.memory().tensors;
      const losses = await windowLosses(loaded, ids, reference.length);
      expect(losses.length).toBe(reference.windows);
      expect(losses[0]).toBeCloseTo(reference.nllFirstWindow, 5);
      const perplexity = Math.exp(losses.reduce((sum, loss) => sum + loss, 0) / losses.length);
      expect(Math.abs(perplexity / reference.perplexity - 1)).toBeLessThan(5e-4);
      expect(engine.memory().tensors).toBe(before);
    });

    it('writes what it writes', async () => {
      const tokenizer = loadTokenizer({
        tokenizer: await readJson(folder!, 'tokenizer.json'),
        config: await readJson(folder!, 'tokenizer_config.json'),
      });
      const prompt = [tokenizer.bosId!, ...tokenizer.encode(reference.prompt)];
      expect(prompt).toEqual(reference.promptTokens);
      const written = await greedy(loaded.model, loaded.runtime, Int32Array.from(prompt), 64);
      expect(written).toEqual(reference.greedyTokens);
    });
  });
});
