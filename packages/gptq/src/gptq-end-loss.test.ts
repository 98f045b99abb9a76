import {
  createContext,
  createRandom,
  hessian,
  int3,
  minMax,
  outputMoments,
  perChannel,
  type Statistic,
  scheme,
  tensor,
} from '@q/core';
import { expect, it } from 'vitest';
import { gptqEndLoss } from './gptq-end-loss.js';

const [rows, columns] = [6, 8];
const random = createRandom(3);
const draw = (count: number) => Float32Array.from({ length: count }, () => random.normal());

async function notesFor(tokens: number): Promise<readonly string[]> {
  const context = createContext();
  const states = new Map<unknown, unknown>();
  const collect = async <State>(statistic: Statistic<State>, width: number, count: number) => {
    const state = statistic.create(width);
    await statistic.update(state, { x: draw(count * width), tokens: count, width }, context.kernels);
    states.set(statistic, state);
  };
  await collect(hessian, columns, 200);
  await collect(outputMoments, rows, tokens);
  const statistics = { has: (of: unknown) => states.has(of), get: (of: unknown) => states.get(of) as never };
  const to = scheme({ format: int3, granularity: perChannel });
  const quantizer = gptqEndLoss({ retarget: 0, residual: false, fit: minMax(), ranges: [1] });
  const weight = tensor('f32', [rows, columns], draw(rows * columns));
  return (await quantizer.quantize(weight, statistics as never, to, context)).report.notes;
}

it('warns of gradients from too few tokens, and of no others', async () => {
  expect((await notesFor(12)).join()).toContain('12 tokens for 6 outputs');
  expect(await notesFor(60)).toEqual([]);
});
