import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, it } from 'vitest';
import { type MethodLine, methodsPlot } from './methods-plot.js';
import { mergeLines, readLines, writeLines } from './methods-table.js';

const line = (model: string, bits: number, group: number, method: string, kl: number): MethodLine => ({
  ...{ model, bits, group, method, kl },
  ...{
    perplexity: 20,
    seconds: 1,
    processorSeconds: 1,
    bitsPerWeight: bits + (group === -1 ? 0.1 : 0.4),
    trainedParameters: 0,
  },
});

it('a partial run replaces its own lines and leaves the others', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'q-methods-'));
  const file = pathToFileURL(join(folder, 'deeper', 'methods.json'));
  expect(await readLines(file)).toEqual([]);
  const old = [line('b', 3, 64, 'rtn', 2), line('a', 2, -1, 'rtn', 9), line('a', 4, -1, 'gptq', 1)];
  await writeLines(file, mergeLines([], old));
  const merged = mergeLines(await readLines(file), [line('a', 2, -1, 'rtn', 8), line('a', 2, 64, 'rtn', 7)]);
  expect(merged.map(({ model, bits, group, method, kl }) => [model, bits, group, method, kl])).toEqual([
    ['a', 4, -1, 'gptq', 1],
    ['a', 2, 64, 'rtn', 7],
    ['a', 2, -1, 'rtn', 8],
    ['b', 3, 64, 'rtn', 2],
  ]);
  await writeFile(file, '[{');
  await expect(readLines(file)).rejects.toThrow('--fresh');
  await rm(folder, { recursive: true });
});

it('the plot holds every series once, and peers where there is a line of the same bits and group', () => {
  const lines = [2, 3].flatMap((bits) =>
    [-1, 64].flatMap((group) => [line('a', bits, group, 'rtn', 0.1), line('a', bits, group, 'gptq', 0.01)]),
  );
  const budgets = [line('a', 3, 64, 'gptq, budget 3', 0.005), line('a', 4, 64, 'gptq, budget 4', 0.002)];
  const peer = { model: 'a', method: 'autoround', bits: 2, group: 64, perplexity: 20, kl: 0.02, seconds: 1 };
  const svg = methodsPlot([...lines, ...budgets], [peer, { ...peer, bits: 8 }]);
  for (const name of ['rtn', 'gptq', 'gptq, budget', 'AutoRound', 'per channel', 'in groups'])
    expect(svg.split(`>${name}</text>`), name).toHaveLength(2);
  expect(svg).toMatch(/^<svg xmlns="http:\/\/www.w3.org\/2000\/svg"/);
  expect(svg).not.toContain('NaN');
});
