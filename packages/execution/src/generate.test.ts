import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { gptqLayout, openCheckpoint, plainLayout } from '@q/checkpoint';
import { languageModel, SchemeError } from '@q/core';
import { createForwardEngine } from '@q/kernels-wasm';
import { loadTokenizer } from '@q/models';
import { afterAll, describe, expect, it } from 'vitest';
import { generate } from './generate.js';
import { loadModel } from './load-model.js';
import { stopTokens } from './stop-tokens.js';
// By tooling/figures/reference/generated_text.py, transformers 5.
import golden from './testing/generated-text.json' with { type: 'json' };
import { createTextStream } from './text-stream.js';

const demo = fileURLToPath(new URL('../../cli/demo/model', import.meta.url));
const folderOf = (name: string) => (name === 'demo' ? demo : `${process.env['QUANT_SHARED']}/models/${name}`);
const present = golden.cases.filter(({ model }) => existsSync(folderOf(model)));

async function collect(ids: AsyncIterable<number>): Promise<number[]> {
  const out: number[] = [];
  for await (const id of ids) out.push(id);
  return out;
}

describe('greedy text', async () => {
  const engine = await createForwardEngine({ threads: 2 });
  afterAll(() => engine.dispose());

  it.each(present)('of $model behind "$prompt" is that of transformers', async ({ model: name, ...expected }) => {
    const folder = folderOf(name);
    const checkpoint = await openCheckpoint(folder, []);
    const json = async (file: string) => JSON.parse(await readFile(`${folder}/${file}`, 'utf8'));
    const tokenizer = loadTokenizer({
      tokenizer: await json('tokenizer.json'),
      config: await json('tokenizer_config.json'),
      model: checkpoint.config,
    });
    const prompt = [...tokenizer.opening, ...tokenizer.encode(expected.prompt)];
    expect(prompt).toEqual(expected.promptIds);
    const held = engine.memory().values;
    const loaded = await loadModel(languageModel(checkpoint.model!, 'a test'), engine, checkpoint);
    const ids = await collect(generate(loaded.model, loaded.runtime, prompt, { tokens: expected.ids.length }));
    expect(ids).toEqual(expected.ids);
    const stream = createTextStream(tokenizer, prompt);
    const stop = stopTokens(await json('generation_config.json'), checkpoint.config);
    const shown = ids.filter((id) => !stop.has(id));
    expect(shown.map((id) => stream.push(id)).join('') + stream.end()).toBe(expected.text);
    loaded.dispose();
    expect(engine.memory().values).toBe(held);
    await checkpoint.close();
  });

  it('ends behind a stop token, and frees the cache when nobody reads on', async () => {
    const { promptIds, ids } = golden.cases[0]!;
    const checkpoint = await openCheckpoint(demo, [gptqLayout(), plainLayout()]);
    const { model, runtime, dispose } = await loadModel(checkpoint.model!, engine, checkpoint);
    const held = engine.memory().values;
    const end = ids.findIndex((id, i) => i > 3 && ids.indexOf(id) === i);
    const stopped = generate(model, runtime, promptIds, { tokens: 48, stop: new Set([ids[end]!]) });
    expect(await collect(stopped)).toEqual(ids.slice(0, end + 1));
    for await (const id of generate(model, runtime, promptIds, { tokens: 48 })) {
      expect(id).toBe(ids[0]);
      break;
    }
    expect(engine.memory().values).toBe(held);
    const refused = (prompt: number[], tokens = 1) => collect(generate(model, runtime, prompt, { tokens }));
    await expect(refused([])).rejects.toThrow(SchemeError);
    await expect(refused([model.vocabularySize])).rejects.toThrow(/vocabulary/);
    await expect(refused(promptIds, model.maxPositions)).rejects.toThrow(/positions/);
    dispose();
    await checkpoint.close();
  });
});
