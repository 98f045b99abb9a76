import { openCheckpoint } from '@q/checkpoint';
import { createContext, type Stage, type Tensor } from '@q/core';
import { createForwardEngine } from '@q/kernels-wasm';
import { expect, it } from 'vitest';
import { demoModel, demoWindows } from '../testing/demo-model.js';
import { workbench } from '../testing/workbench.js';
import { BlockStream } from './block-stream.js';
import { comparedOutput } from './collect.js';
import { diskStates, memoryStates } from './state-store.js';

const at = workbench();
let opened = 0;

it.each(['memory', 'disk'] as const)(
  'advance gives what the linear makes of its input, and leaves the states as run does, in %s',
  async (where) => {
    const source = await openCheckpoint(demoModel, []);
    const engine = await createForwardEngine({ threads: 1 });
    const store = () => (where === 'disk' ? diskStates(`${at.folder}/states-${opened++}`) : memoryStates());
    const windows = await demoWindows(16, 6);
    const context = createContext({ kernels: at.kernels });
    const { model } = source;
    if (!model) throw new Error('the demo has a model');
    const streams = [1, 2].map(() => new BlockStream(engine, model, windows, 2, context, store()));
    const [plain, ahead] = streams;
    const load = async (names: readonly string[]) => {
      for (const name of names) for (const each of streams) each.setWeight(name, await source.weight(name));
    };
    await load(model.embeddingTensors);
    for (const each of streams) await each.embed();
    const [block] = model.blocks;
    await load(block.tensors);
    for (const each of streams) await each.begin(block);
    let compared = 0;
    for (const stage of block.stages) {
      const module = comparedOutput(stage, [{ outputs: true } as never]);
      // Every other batch: the rest goes with `run`.
      if (module) {
        compared++;
        const weight = await source.weight(`${module}.weight`);
        for (const batch of [0, 2]) {
          const expected = product(ahead.input(batch), weight);
          const { output, release } = await ahead.advance(batch, stage as Stage, module);
          release();
          expect(output.length).toBe(expected.length);
          for (let i = 0; i < output.length; i++) expect(output[i]).toBeCloseTo(expected[i], 4);
        }
      }
      for (const each of streams) await each.run(stage);
      for (let batch = 0; batch < plain.batches; batch++) {
        expect(ahead.residual(batch)).toEqual(plain.residual(batch));
        expect(ahead.input(batch).x).toEqual(plain.input(batch).x);
      }
    }
    expect(compared).toBe(2);
    for (const each of streams) {
      each.clearWeights();
      each.dispose();
    }
    await engine.dispose?.();
    await source.close();
  },
);

function product({ x, tokens, width }: { x: Float32Array; tokens: number; width: number }, weight: Tensor<'f32'>) {
  const [rows] = weight.shape;
  const out = new Float64Array(tokens * rows);
  for (let t = 0; t < tokens; t++)
    for (let i = 0; i < rows; i++)
      for (let j = 0; j < width; j++) out[t * rows + i] += x[t * width + j] * weight.data[i * width + j];
  return out;
}
