import { gptqLayout, openCheckpoint, plainLayout } from '@q/checkpoint';
import { int4, type ModelDescription, perGroup, scheme } from '@q/core';
import { gptq, gptqEndLoss } from '@q/gptq';
import { rtn } from '@q/rtn';
import { expect, it } from 'vitest';
import { demoModel } from '../testing/demo-model.js';
import { type CalibrationShape, type ForecastInput, forecast, kernelEngine } from './forecast.js';
import { planRun } from './plan.js';

const target = scheme({ format: int4, granularity: perGroup(32) });
const blocks = { match: /layers/, quantizer: gptq(), scheme: target };

it('counts a row of the table of tokens for each token of the calibration, and no more than the table has', async () => {
  const source = await openCheckpoint(demoModel, []);
  const { vocabularySize, hiddenSize } = source.model as ModelDescription;
  const bytesOf = (count: number) =>
    planRun(source, { layout: gptqLayout(), rules: [blocks], seed: 0 }, { count, length: 16 }).forecast.memory
      .embeddings;
  expect(bytesOf(2)).toBe(4 * 32 * hiddenSize);
  expect(bytesOf(vocabularySize)).toBe(4 * vocabularySize * hiddenSize);
  await source.close();
});

it('counts a table whole while it is rounded or rewritten', async () => {
  const source = await openCheckpoint(demoModel, []);
  const own = source.model as ModelDescription;
  const [table, rows, width] = [own.tokenTable as string, 1e6, own.hiddenSize];
  const model = { ...own, vocabularySize: rows, expected: new Map(own.expected).set(table, [rows, width]) };
  const module = table.replace(/\.weight$/, '');
  const linear = { module, inFeatures: width, outFeatures: rows, transposed: false, bias: false };
  const bytesOf = (more: Partial<ForecastInput>) => {
    const recipe = { layout: plainLayout(), rules: [], seed: 0 };
    const calibration = { count: 2, length: 16 };
    return forecast({ checkpoint: source, model, recipe, modules: [], calibration, ...more }).memory.total as number;
  };
  const decoded = 4 * rows * width;
  expect(bytesOf({})).toBeLessThan(decoded);
  expect(bytesOf({ rewritten: new Set([table]) })).toBeGreaterThan(150e6 + decoded);
  expect(bytesOf({ modules: [{ linear, quantizer: rtn(), scheme: target }] })).toBeGreaterThan(150e6 + 2 * decoded);
  await source.close();
});

it('counts the moments of outputs of all linears, and the weights of the backward pass', async () => {
  const source = await openCheckpoint(demoModel, []);
  const memoryOf = (quantizer = gptq()) => {
    const rules = [{ ...blocks, quantizer }];
    return planRun(source, { layout: gptqLayout(), rules, seed: 0 }, { count: 1, length: 16, batch: 1 }).forecast
      .memory;
  };
  const { blocks: own, expected } = source.model as ModelDescription;
  let [moments, weights] = [0, 0];
  for (const { outFeatures: out } of own.flatMap(({ linears }) => linears)) moments += 2 * out * (out + 1);
  for (const shape of expected.values()) weights += 4 * shape.reduce((product, size) => product * size);
  const memory = memoryOf(gptqEndLoss());
  expect(memory.moments).toBe(moments);
  expect(memory.total).toBeGreaterThan(Math.max(memoryOf().total, 150e6 + weights + moments));
  expect(memoryOf(gptqEndLoss({ outputs: 0 })).moments).toBeUndefined();
  await source.close();
});

it('predicts less time on a faster engine and on more threads', async () => {
  const source = await openCheckpoint(demoModel, []);
  const secondsOf = (more: Partial<CalibrationShape>, rule = blocks) =>
    planRun(source, { layout: gptqLayout(), rules: [rule], seed: 0 }, { count: 128, length: 256, ...more }).forecast
      .seconds;
  const usual = secondsOf({});
  expect(secondsOf({ threads: 2, engine: () => kernelEngine })).toBe(usual);
  expect(secondsOf({ threads: 8 })).toBeLessThan(usual);
  expect(secondsOf({ threads: 1 })).toBeGreaterThan(usual);
  const dataFree = { ...blocks, quantizer: rtn() };
  expect(secondsOf({ threads: 8 }, dataFree)).toBeLessThan(secondsOf({ threads: 1 }, dataFree));
  expect(secondsOf({ engine: () => ({ ...kernelEngine, products: 2 * kernelEngine.products }) })).toBeLessThan(usual);
  await source.close();
});

it('predicts the time of a backward pass over a quarter of the windows, or over all of them', async () => {
  const source = await openCheckpoint(demoModel, []);
  const secondsOf = (quantizer = gptq()) => {
    const rules = [{ ...blocks, quantizer }];
    return planRun(source, { layout: gptqLayout(), rules, seed: 0 }, { count: 512, length: 256 }).forecast.seconds;
  };
  expect(secondsOf(gptqEndLoss())).toBeGreaterThan(secondsOf());
  expect(secondsOf(gptqEndLoss({ tokens: 0.5 }))).toBeGreaterThan(secondsOf(gptqEndLoss({ tokens: 0 })));
  await source.close();
});
