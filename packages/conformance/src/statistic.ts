import { createContext, type Statistic, type Tensor } from '@q/core';
import { type Check, expectThat } from './conformance-case.js';
import { linearData } from './linear-data.js';

/** The checks of a statistic: merging, counting, serialising, and different widths. */
export const statisticConformance: readonly Check<Statistic<any>>[] = [
  {
    name: 'two halves merged are the whole',
    async run(statistic) {
      const whole = await seen(statistic, [[0, 96]]);
      const [first, second] = [await seen(statistic, [[0, 40]]), await seen(statistic, [[40, 96]])];
      statistic.merge(first, second);
      expectThat(statistic.count(first) === statistic.count(whole), () => 'the merged count is another one');
      compare(statistic.serialize(first), statistic.serialize(whole), 1e-5);
    },
  },
  {
    name: 'a state that was written and read is the same',
    async run(statistic) {
      const state = await seen(statistic, [[0, 96]]);
      const read = statistic.deserialize(statistic.serialize(state));
      compare(statistic.serialize(read), statistic.serialize(state), 0);
      expectThat(statistic.count(read) === statistic.count(state), () => 'the count that was read is another one');
    },
  },
  {
    name: 'states of other widths do not merge, and the forecast of bytes is positive',
    async run(statistic) {
      let refused = false;
      try {
        statistic.merge(statistic.create(8), statistic.create(9));
      } catch {
        refused = true;
      }
      expectThat(refused, () => 'widths 8 and 9 were merged');
      expectThat(statistic.bytes(64) > 0, () => 'bytes(64) is not positive');
    },
  },
];

async function seen(statistic: Statistic<any>, parts: readonly (readonly [number, number])[]): Promise<any> {
  const { inputs, columns: width, rows } = linearData('statistic', 4, 24);
  const state = statistic.create(width);
  for (const [begin, end] of parts) {
    const x = inputs.slice(begin * width, end * width);
    const tokens = end - begin;
    const residual = new Float32Array(tokens * rows).fill(1);
    const batch = { x, tokens, width, reference: x, residual, residualError: residual };
    await statistic.update(state, batch, createContext().kernels);
  }
  return state;
}

function compare(found: Record<string, Tensor>, expected: Record<string, Tensor>, tolerance: number): void {
  expectThat(`${Object.keys(found)}` === `${Object.keys(expected)}`, () => `tensors are ${Object.keys(found)}`);
  for (const [name, { data }] of Object.entries(expected))
    for (let i = 0; i < data.length; i++) {
      const [a, b] = [Number(found[name].data[i]), Number(data[i])];
      expectThat(
        Math.abs(a - b) <= tolerance * (1 + Math.abs(b)),
        () => `${name}: value ${i} is ${a}, ${b} was expected`,
      );
    }
}
