import { type ForwardEngine, languageModel, type ProgressEvent, tensor } from '@q/core';
import { createForwardEngine } from '@q/kernels-wasm';
import { createRuntime, forward } from '@q/models';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { BlockWalk } from './block-walk.js';
import { model, read, tensors, windows } from './testing/small-model.js';
import { embedWindows, walkBlocks } from './walk-blocks.js';

let engine: ForwardEngine<unknown>;
beforeAll(async () => {
  engine = (await createForwardEngine({ threads: 1 })) as ForwardEngine<unknown>;
});
afterAll(() => engine.dispose());

const openWalk = () => new BlockWalk({ model, engine, windows, batch: 2 });
const { logits } = languageModel(model, 'the test');

it('gives the logits of the whole model at once, each weight read once for all walks', async () => {
  const { ops } = engine;
  const weights = new Map([...tensors].map(([name, values]) => [name, ops.fromTensor(values)]));
  const whole = forward(model, createRuntime(ops, weights, { ties: model.ties }), windows.ids, 5, 12);
  const expected = await ops.data(whole);
  const reads: string[] = [];
  const progress: ProgressEvent[] = [];
  const counted = async (name: string) => {
    reads.push(name);
    return read(name);
  };
  const walks = [2, 3].map((batch) => new BlockWalk({ model, engine, windows, batch })) as [
    BlockWalk<unknown>,
    BlockWalk<unknown>,
  ];
  await embedWindows(walks, counted);
  await walkBlocks(walks, {
    ...{ read: counted, task: 'test', note: ({ prefix }: { prefix: string }) => prefix },
    progress: (event) => progress.push(event),
  });
  expect(reads.length).toBe(new Set(reads).size);
  expect(progress.map(({ task, done, total, note }) => [task, done, total, note])).toEqual([
    ['test', 1, 3, 'model.layers.0'],
    ['test', 2, 3, 'model.layers.1'],
    ['test', 3, 3, 'model.layers.2'],
  ]);
  for (const walk of walks) {
    expect(walk.loaded.size).toBe(0);
    await walk.load(model.headTensors, read);
    const parts = await Promise.all(walk.windowBatches.map((_, batch) => walk.output(batch, logits)));
    const found = parts.flatMap((part) => [...part]);
    expect(found.length).toBe(expected.length);
    for (let i = 0; i < found.length; i++) expect(found[i]).toBeCloseTo(expected[i], 4);
    expect(await walk.outputOf(Int32Array.of(0, 1), logits)).toEqual(
      Float32Array.from(found.slice(0, 2 * 12 * model.vocabularySize)),
    );
    walk.clearWeights();
  }
});

it('runs on weights that are on the engine already, and leaves them there', async () => {
  const { ops } = engine;
  const weights = new Map([...tensors].map(([name, values]) => [name, ops.fromTensor(values)]));
  const [given, own] = [new BlockWalk({ model, engine, windows, batch: 5, weights }), openWalk()];
  await given.embed();
  for (const block of model.blocks) await given.runBlock(block);
  await embedWindows([own], read);
  await walkBlocks([own], { read });
  const all = Int32Array.of(0, 1, 2, 3, 4);
  expect(given.gather(all)).toEqual(own.gather(all));
  given.clearWeights();
  const [name] = model.headTensors;
  expect(await ops.data(weights.get(name))).toEqual((await read(name)).data);
});

it('wraps the runtime of what it loads, and names it', async () => {
  const wrapped: (readonly string[])[] = [];
  const walk = new BlockWalk({
    ...{ model, engine, windows, batch: 4 },
    wrap(runtime, names) {
      wrapped.push(names);
      return runtime;
    },
  });
  await embedWindows([walk], read);
  await walkBlocks([walk], { read });
  expect(wrapped).toEqual([model.embeddingTensors, ...model.blocks.map(({ tensors }) => tensors)]);
});

it('ends between two batches when it is aborted, and frees the weights', async () => {
  const controller = new AbortController();
  const walk = new BlockWalk({ model, engine, windows, batch: 2, signal: controller.signal });
  await embedWindows([walk], read);
  const visited: number[] = [];
  const pass = walkBlocks([walk], {
    read,
    async visit(block) {
      visited.push(block.index);
      if (block.index === 1) controller.abort();
      await walk.runBlock(block);
    },
  });
  await expect(pass).rejects.toThrow('aborted');
  expect(visited).toEqual([0, 1]);
  expect(walk.loaded.size).toBe(0);
});

it('reads rows of the tokens of the windows alone, and gives the same states', async () => {
  const few = { ...windows, ids: windows.ids.map((id) => 3 * (id % 13)) };
  const open = (of = model) => new BlockWalk({ model: of, engine, windows: few, batch: 2 });
  const [whole, some, unnamed] = [open(), open(), open({ ...model, tokenTable: undefined })];
  await embedWindows([whole], read);
  const asked: (readonly [string, number[]])[] = [];
  const readRows = async (name: string, ids: Int32Array) => {
    asked.push([name, [...ids]]);
    const { data, shape } = await read(name);
    const rows = [...ids].flatMap((id) => [...data.subarray(id * shape[1], (id + 1) * shape[1])]);
    return tensor('f32', [ids.length, shape[1]], Float32Array.from(rows));
  };
  await embedWindows([some], async (name) => expect.fail(name), { readRows });
  expect(asked).toEqual([['model.embed_tokens.weight', [...new Set(few.ids)].sort((a, b) => a - b)]]);
  await embedWindows([unnamed], read, { readRows });
  expect(asked.length).toBe(1);
  const all = Int32Array.of(0, 1, 2, 3, 4);
  for (const walk of [some, unnamed]) expect(walk.gather(all)).toEqual(whole.gather(all));
});
