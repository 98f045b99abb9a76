import { createContext, createRandom, int3, perChannel, scheme } from '@q/core';
import {
  createLoopback,
  createTrainingGroup,
  errorFeedback,
  exact,
  type GradientCompressor,
  int8Blocks,
  oneBitMomentum,
  scaledSign,
  stateless,
} from '@q/gradients';
import { createEngine } from '@q/tfjs';
import { describe, expect, it } from 'vitest';
import { signSgd } from './optimizers/sign-sgd.js';
import { qaft } from './qaft.js';
import { memoryStore, tinyModel, tinySource, tinyStart, tinyWindows } from './testing/tiny-model.js';
import { train } from './train.js';

const target = scheme({ format: int3, granularity: perChannel });
const options = { epochs: 2, batch: 4, warmUp: 0, saveEvery: 2 };

/** QAFT of the tiny model by `workers`, each with an engine of its own. */
async function trained(
  workers: number,
  compressor: GradientCompressor = exact(),
  { epochs = 2, store = memoryStore(), smallest = 1, tamper = undefined as Parameters<typeof createLoopback>[1] } = {},
) {
  return Promise.all(
    createLoopback(workers, tamper).map(async (exchange) => {
      const engine = await createEngine({ backend: 'cpu' });
      const group = createTrainingGroup({ compressor, exchange, random: createRandom('group'), smallest });
      try {
        return await qaft({ ...options, epochs }).tune(
          {
            model: tinyModel,
            engine,
            source: tinySource,
            start: tinyStart(target),
            windows: tinyWindows(12),
            ...(exchange.rank === 0 ? { store } : {}),
          },
          createContext(workers > 1 || compressor.name !== 'none' ? { group } : {}),
        );
      } finally {
        await engine.dispose();
      }
    }),
  );
}

const codesOf = (result: Awaited<ReturnType<typeof trained>>[number]) =>
  [...result.modules].map(([module, { codes, scales }]) => [module, codes, scales]);

describe('training on several workers', () => {
  it('gives the loss of one worker with exact gradients, and the same bytes on all workers', async () => {
    const [[alone], pair, four] = [await trained(1), await trained(2), await trained(4)];
    for (const results of [pair, four]) {
      for (const result of results) expect(codesOf(result)).toEqual(codesOf(results[0]));
      // The means are taken in another order, and rounded to f32.
      expect(results[0].figures.loss / alone.figures.loss).toBeCloseTo(1, 4);
    }
  });

  for (const compressor of [stateless(int8Blocks()), errorFeedback(scaledSign()), oneBitMomentum({ warmup: 2 })])
    it(`${compressor.name}: a training that goes on from a checkpoint ends with the bytes of an undisturbed one`, async () => {
      const whole = await trained(2, compressor);
      const store = memoryStore();
      let calls = 0;
      const dying = trained(2, compressor, {
        store,
        tamper: (message) => {
          // Worker 0's checkpoint of step 2 is on the disk by then.
          if (++calls > 11) throw new Error('the network is gone');
          return message;
        },
      });
      await expect(dying).rejects.toThrow('the network is gone');
      expect(store.saves).toEqual([2]);
      const resumed = await trained(2, compressor, { store });
      expect(codesOf(resumed[0])).toEqual(codesOf(whole[0]));
    });

  it('refuses a batch that cannot be shared, and an optimizer that cannot freeze its second moment', async () => {
    await expect(trained(3)).rejects.toThrow(/batch of 4 windows cannot be shared evenly by 3 workers/);
    const [exchange] = createLoopback(1);
    const group = createTrainingGroup({
      compressor: oneBitMomentum({ warmup: 1 }),
      exchange,
      random: createRandom(0),
    });
    const values = new Float32Array(2);
    const run = train(
      {
        tensors: new Map([
          ['x', { shape: [2], parameters: { weight: values }, value: () => values, backward: (d) => ({ weight: d }) }],
        ]),
        objective: {
          windows: 1,
          evaluate: async () => ({ loss: 1, derivatives: new Map([['x', new Float32Array(2)]]) }),
        },
        optimizer: signSgd(),
        schedule: () => 1,
        rates: { weight: 0.1 },
        steps: 1,
        batch: 1,
      },
      createContext({ group }),
    );
    await expect(run).rejects.toThrow(/cannot freeze its second moment/);
  });
});
