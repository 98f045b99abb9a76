import { createCollector } from '@q/calib';
import { createContext, createRandom, schemes, tensor } from '@q/core';
import { gptq } from '@q/gptq';
import { expect, it } from 'vitest';
import { inRows } from './in-rows.js';

const [rows, columns, tokens] = [23, 64, 200];
const random = createRandom(4);
const values = (count: number) => Float32Array.from({ length: count }, () => random.normal());

it.each([
  ['groups', schemes.integer(4, { groupSize: 16, zeroPoint: 'integer' })],
  ['rows', schemes.integer(3)],
  ['a scale for all', schemes.int8TensorWise],
])('parts of a matrix give what the whole gives: %s', async (_, scheme) => {
  const context = createContext();
  const quantizer = gptq({ retarget: 0, residual: false });
  const collector = createCollector(quantizer.needs, columns, 'head');
  await collector.update({ x: values(tokens * columns), tokens, width: columns }, context.kernels);
  const weight = tensor('f32', [rows, columns], values(rows * columns));
  const work = (part: typeof weight) => quantizer.quantize(part, collector.statistics, scheme, context);
  const [whole, parts] = [await work(weight), await inRows(weight, scheme, work, 5 * columns)];
  expect(parts.quantized.codes).toEqual(whole.quantized.codes);
  expect(parts.quantized.scales).toEqual(whole.quantized.scales);
  expect(parts.quantized.zeroPoints).toEqual(whole.quantized.zeroPoints);
  expect(parts.quantized.shape).toEqual([rows, columns]);
  expect(parts.report.tokens).toBe(tokens);
  for (const [name, value] of Object.entries(whole.report.figures))
    if (/loss/i.test(name)) expect(parts.report.figures[name]).toBeCloseTo(value, 3);
});
