import { ShapeError } from '@q/core';
import { createEngine, type Handle, type TfjsEngine } from '@q/tfjs';
import { beforeAll, describe, expect, it } from 'vitest';
import { createRuntime, wrapRuntime } from './runtime.js';

describe('a runtime', () => {
  let ops: TfjsEngine['ops'];
  beforeAll(async () => {
    ops = (await createEngine({ backend: 'cpu' })).ops;
  });
  const vector = (...values: number[]) => ops.fromF32(Float32Array.from(values), [1, values.length]);
  const weights = () =>
    new Map<string, Handle>([
      ['a.weight', vector(2, 3)],
      ['a.bias', ops.fromF32(Float32Array.of(10), [1])],
    ]);
  const values = (x: Handle) => [...ops.dataSync(x)];

  it('applies weight and bias, and knows ties', () => {
    const runtime = createRuntime(ops, weights(), { ties: new Map([['b.weight', 'a.weight']]) });
    expect(values(runtime.linear('a', vector(1, 1)))).toEqual([15]);
    expect(values(runtime.linear('b', vector(1, 1)))).toEqual([5]);
    expect(runtime.has('b.weight')).toBe(true);
    expect(runtime.has('c.weight')).toBe(false);
    expect(() => runtime.weight('c.weight')).toThrow(ShapeError);
    expect(() => runtime.weight('c.weight')).toThrow(/no tensor "c.weight"/);
  });

  it('is heard through wrappers, the outermost first', () => {
    const heard: string[] = [];
    const plain = createRuntime(ops, weights());
    const recording = wrapRuntime(plain, {
      linear(module, x, inner) {
        heard.push(`record ${module} ${values(x)}`);
        return inner(module, x);
      },
    });
    const doubled = wrapRuntime(recording, {
      weight(name, inner) {
        heard.push(`weight ${name}`);
        return name === 'a.weight' ? ops.scale(inner(name), 2) : inner(name);
      },
    });
    const rounded = wrapRuntime(doubled, { linear: (module, x, inner) => inner(module, ops.scale(x, 100)) });
    // The inner linear asks for its weight from the outside, so that the doubled one arrives.
    expect(values(rounded.linear('a', vector(1, 1)))).toEqual([1010]);
    expect(heard).toEqual(['record a 100,100', 'weight a.weight', 'weight a.bias']);
    expect(values(plain.linear('a', vector(1, 1)))).toEqual([15]);
  });

  it('passes keys and values through the cache', () => {
    const site = { block: 3, kind: 'key', stage: 'afterRope' } as const;
    const runtime = wrapRuntime(createRuntime(ops, weights()), {
      cache: (at, x, inner) => ops.scale(inner(at, x), at.block),
    });
    expect(values(runtime.cache(site, vector(1, 2)))).toEqual([3, 6]);
  });

  it('passes queries by', () => {
    const plain = createRuntime(ops, weights());
    expect(values(plain.query(3, vector(1, 2)))).toEqual([1, 2]);
    const runtime = wrapRuntime(plain, { query: (block, x, inner) => ops.scale(inner(block, x), block) });
    expect(values(runtime.query(3, vector(1, 2)))).toEqual([3, 6]);
  });

  it('that was made elsewhere can be wrapped', () => {
    const foreign = { ...createRuntime(ops, weights()), has: () => false };
    const runtime = wrapRuntime(foreign, { linear: (module, x, inner) => ops.scale(inner(module, x), -1) });
    expect(values(runtime.linear('a', vector(1, 1)))).toEqual([-15]);
    expect(runtime.has('a.weight')).toBe(false);
  });
});
