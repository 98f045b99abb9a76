import { fileURLToPath } from 'node:url';
import { cutWindows } from '@q/calib';
import { openCheckpoint } from '@q/checkpoint';
import type { ForwardEngine, Tensor } from '@q/core';
import { createEngine } from '@q/tfjs';
import { afterAll, describe, expect, it } from 'vitest';
import { evaluate } from './evaluate.js';
import { runWindows } from './logits-source.js';

/** Its head is tied to the table of tokens. */
const demo = fileURLToPath(new URL('../../cli/demo/model', import.meta.url));

describe('the head of two models', async () => {
  const checkpoint = await openCheckpoint(demo, []);
  const model = checkpoint.model!;
  const engine = (await createEngine({ backend: 'cpu' })) as ForwardEngine<any>;
  afterAll(async () => {
    await engine.dispose();
    await checkpoint.close();
  });
  const [table] = model.embeddingTensors as [string];
  const stream = Int32Array.from({ length: 48 }, (_, i) => (31 * i + 7) % model.vocabularySize);
  const windows = cutWindows(stream, 12);

  /** Uploads of matrices with the shape of the table while two models are compared. */
  async function compare(weight: (name: string) => Promise<Tensor<'f32'>>) {
    const read = (name: string) => checkpoint.weight(name);
    const original = await runWindows(model, engine, read, windows);
    const own = await runWindows(model, engine, weight, windows);
    let uploads = 0;
    const { fromTensor } = engine.ops;
    engine.ops.fromTensor = (tensor) => {
      if (String(tensor.shape) === String(model.expected.get(table))) uploads++;
      return fromTensor.call(engine.ops, tensor);
    };
    try {
      return { ...(await evaluate(own, windows, { against: original, batch: 1 })), uploads };
    } finally {
      engine.ops.fromTensor = fromTensor;
    }
  }

  it('is uploaded once for all batches where both have the same one', async () => {
    const { uploads, kl } = await compare((name) => checkpoint.weight(name));
    expect([uploads, kl]).toEqual([1, 0]);
  });

  it('is uploaded once for each model where they differ, by one value alone', async () => {
    const { uploads, kl } = await compare(async (name) => {
      const tensor = await checkpoint.weight(name);
      if (name !== table) return tensor;
      const data = tensor.data.slice();
      data[data.length - 1] += 1;
      return { ...tensor, data };
    });
    expect(uploads).toBe(2);
    expect(kl).toBeGreaterThan(0);
  });
});
