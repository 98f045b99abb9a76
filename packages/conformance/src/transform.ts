import {
  type BlockWeights,
  createContext,
  perGroup,
  type ScalableEdge,
  type Scheme,
  type Statistics,
  scheme,
  type Transform,
  tensor,
  uint4,
} from '@q/core';
import { type Check, expectThat } from './conformance-case.js';
import { collect, linearData } from './linear-data.js';

/** The checks of a transform: the function of the model stays the same, inputs are not modified, and two runs agree. */
export function transformConformance(
  of: Scheme = scheme({ format: uint4, granularity: perGroup(16), zeroPoint: 'integer' }),
): readonly Check<Transform>[] {
  return [
    {
      name: 'gain times weight stays what it was on an edge behind a norm',
      async run(transform) {
        const data = linearData('transform', 16, 32);
        const gain = tensor(
          'f32',
          [32],
          Float32Array.from({ length: 32 }, (_, j) => 0.5 + (j % 5) / 4),
        );
        const weights: BlockWeights = new Map([
          ['norm.weight', gain],
          ['a.weight', data.weight],
        ]);
        const edge: ScalableEdge = { id: 'norm->a', producer: { kind: 'norm', module: 'norm' }, consumers: ['a'] };
        const statistics: Statistics = await collect(transform.needs, data);
        const input = {
          edges: [edge],
          weights,
          statistics: () => statistics,
          scheme: () => of,
          evaluate: async () => 1,
          roles: () => [],
        };
        const first = await transform.apply(input, createContext());
        const second = await transform.apply(input, createContext());
        expectThat(weights.get('a.weight') === data.weight, () => 'the weights that came in were replaced');
        const [newGain, newWeight] = [
          first.weights.get('norm.weight') ?? gain,
          first.weights.get('a.weight') ?? data.weight,
        ];
        for (let i = 0; i < data.weight.data.length; i++) {
          const [before, after] = [gain.data[i % 32] * data.weight.data[i], newGain.data[i % 32] * newWeight.data[i]];
          expectThat(
            Math.abs(after - before) <= 1e-5 * (1e-3 + Math.abs(before)),
            () => `gain times weight ${i} became ${after}, it was ${before}`,
          );
        }
        expectThat(
          `${second.weights.get('a.weight')?.data}` === `${first.weights.get('a.weight')?.data}`,
          () => 'two runs gave other weights',
        );
      },
    },
  ];
}
