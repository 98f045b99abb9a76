import { describe, expect, it } from 'vitest';
import type { Tensor } from '../contracts/tensor.js';
import type { ScalableEdge } from '../contracts/transform.js';
import { createRandom } from '../random.js';
import { tensor } from '../tensor.js';
import { edgeChannels, foldEdge } from './fold-edge.js';

const random = createRandom('fold');
const normals = (...shape: number[]) =>
  tensor(
    'f32',
    shape,
    Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => random.normal()),
  );
/** `x W^T + b` in f64. */
function linear(x: ArrayLike<number>, w: Tensor<'f32'>, b?: Tensor<'f32'>): number[] {
  const [out, width] = w.shape;
  return Array.from({ length: out }, (_, i) => {
    let sum = b?.data[i] ?? 0;
    for (let j = 0; j < width; j++) sum += x[j] * w.data[i * width + j];
    return sum;
  });
}
const positive = (length: number) => Float32Array.from({ length }, () => Math.exp(random.normal()));

describe('foldEdge', () => {
  it('leaves norm -> linears as they were', () => {
    const weights = new Map([
      ['n.weight', normals(4)],
      ['n.bias', normals(4)],
      ['a.weight', normals(3, 4)],
      ['b.weight', normals(2, 4)],
    ]);
    const edge: ScalableEdge = { id: 'n->a,b', producer: { kind: 'norm', module: 'n' }, consumers: ['a', 'b'] };
    const scales = positive(4);
    const { weights: changed, inputScales } = foldEdge(edge, scales, weights);
    const x = normals(4).data;
    const through = (from: ReadonlyMap<string, Tensor<'f32'>>, consumer: string) =>
      linear(
        x.map((value, j) => value * from.get('n.weight')!.data[j] + from.get('n.bias')!.data[j]),
        from.get(consumer)!,
      );
    for (const consumer of ['a.weight', 'b.weight'])
      through(changed, consumer).forEach((value, i) => {
        expect(value).toBeCloseTo(through(weights, consumer)[i], 5);
      });
    expect([...(inputScales.get('b') as Float32Array)]).toEqual([...scales.map((scale) => 1 / scale)]);
  });

  it('leaves the last rows of a fused linear -> relu -> linear as they were, and its other rows untouched', () => {
    const weights = new Map([
      ['p.weight', normals(6, 3)],
      ['p.bias', normals(6)],
      ['c.weight', normals(2, 4)],
    ]);
    const edge: ScalableEdge = {
      id: 'p->c',
      producer: { kind: 'linear', module: 'p', rows: [2, 6] },
      consumers: ['c'],
      through: 'relu',
    };
    const { weights: changed } = foldEdge(edge, positive(4), weights);
    const x = normals(3).data;
    const through = (from: ReadonlyMap<string, Tensor<'f32'>>) =>
      linear(
        linear(x, from.get('p.weight')!, from.get('p.bias')!)
          .slice(2)
          .map((value) => Math.max(0, value)),
        from.get('c.weight')!,
      );
    through(changed).forEach((value, i) => {
      expect(value).toBeCloseTo(through(weights)[i], 5);
    });
    expect(changed.get('p.weight')!.data.subarray(0, 6)).toEqual(weights.get('p.weight')!.data.subarray(0, 6));
  });

  it('keeps the copies of a grouped-query head at one scale', () => {
    const edge: ScalableEdge = {
      id: 'v->o',
      producer: { kind: 'linear', module: 'v' },
      consumers: ['o'],
      repeat: { times: 2, headDim: 2 },
    };
    // Heads of the consumer 0,1 read head 0, heads 2,3 read head 1.
    expect([...edgeChannels(edge, 8)]).toEqual([0, 1, 0, 1, 2, 3, 2, 3]);
    const weights = new Map([
      ['v.weight', normals(4, 3)],
      ['o.weight', normals(3, 8)],
    ]);
    const shared = positive(4);
    const scales = Float32Array.from(edgeChannels(edge, 8), (channel) => shared[channel]);
    const { weights: changed } = foldEdge(edge, scales, weights);
    const x = normals(3).data;
    const through = (from: ReadonlyMap<string, Tensor<'f32'>>) => {
      const v = linear(x, from.get('v.weight')!);
      return linear([v[0], v[1], v[0], v[1], v[2], v[3], v[2], v[3]], from.get('o.weight')!);
    };
    through(changed).forEach((value, i) => {
      expect(value).toBeCloseTo(through(weights)[i], 5);
    });
    expect(() => foldEdge(edge, positive(8), weights)).toThrow('must share one scale');
  });

  it('refuses another activation, naming it, and scales that are not positive', () => {
    const edge = {
      id: 'fc->proj',
      producer: { kind: 'linear', module: 'fc' },
      consumers: ['proj'],
      through: 'gelu',
    } as unknown as ScalableEdge;
    const weights = new Map([
      ['fc.weight', normals(2, 2)],
      ['proj.weight', normals(2, 2)],
    ]);
    expect(() => foldEdge(edge, positive(2), weights)).toThrow('the activation gelu');
    const plain = { ...edge, through: undefined };
    for (const value of [0, -1, Number.NaN, Number.POSITIVE_INFINITY])
      expect(() => foldEdge(plain, Float32Array.of(1, value), weights)).toThrow(`channel 1 is ${value}`);
  });
});
