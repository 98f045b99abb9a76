import { fileURLToPath } from 'node:url';
import { openCheckpoint } from '@q/checkpoint';
import { createForwardEngine } from '@q/kernels-wasm';
import { createDecoder, forward } from '@q/models';
import { afterAll, describe, expect, it } from 'vitest';
import { loadModel, type WeightSource } from './load-model.js';

/** Tied and in bf16. */
const demo = fileURLToPath(new URL('../../cli/demo/model', import.meta.url));

describe('a model in 16 bits', async () => {
  const engine = await createForwardEngine({ threads: 2 });
  const checkpoint = await openCheckpoint(demo, []);
  const model = checkpoint.model!;
  afterAll(async () => {
    await engine.dispose();
    await checkpoint.close();
  });
  const ids = Int32Array.from({ length: 20 }, (_, i) => (37 * i) % model.vocabularySize);

  /** Logits of a prompt and of a token behind it, and what the weights take. */
  async function run(source: WeightSource) {
    const before = engine.memory().bytes;
    const { runtime, dispose } = await loadModel(model, engine, source);
    const { ops } = runtime;
    const data = (handle: ReturnType<typeof ops.fromF32>) => {
      const values = ops.dataSync(handle);
      ops.dispose(handle);
      return values;
    };
    const prompt = data(forward(model, runtime, ids, 1, ids.length));
    const bytes = engine.memory().bytes - before;
    const decoder = createDecoder(model, runtime, 1);
    ops.dispose(decoder.append(ids));
    const next = data(decoder.append(Int32Array.of(5)));
    decoder.dispose();
    dispose();
    return { prompt, next, bytes };
  }

  it('gives the bits of its f32 values, in half of their memory', async () => {
    const { halves: _, ...values } = checkpoint;
    // Tables of positions stay on the engine behind the first pass.
    await run(values);
    const [half, full] = [await run(checkpoint), await run(values)];
    expect(half.prompt).toEqual(full.prompt);
    expect(half.next).toEqual(full.next);
    expect(half.bytes / full.bytes).toBeLessThan(0.52);
  });
});
