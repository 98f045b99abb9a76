import { createRandom, unsignedDynamicMap } from '@q/core';
import { describe, expect, it } from 'vitest';
import { adamW } from './adamw.js';
import { adamW4bit } from './adamw-4bit.js';
import { adamW8bit } from './adamw-8bit.js';

const random = createRandom('8 bits');
const size = 6000;
const target = Float32Array.from({ length: size }, () => random.normal());
const curvature = Float32Array.from({ length: size }, () => 0.2 + random.uniform());

/** Minimises `sum c (x - target)^2 / 2` with noisy gradients; the mean squared distance of the end. */
function minimise(optimizer: ReturnType<typeof adamW>, steps: number, x = new Float32Array(size)): number {
  const noise = createRandom('noise');
  for (let step = 0; step < steps; step++) {
    const g = x.map((value, i) => curvature[i] * (value - target[i]) + 0.05 * noise.normal());
    optimizer.step(new Map([['x#w', x]]), new Map([['x#w', g]]), () => 0.02);
  }
  return x.reduce((sum, value, i) => sum + (value - target[i]) ** 2, 0) / size;
}

/**
 * Eight steps at once, and five, then three by an optimizer that was given the saved states: the same bytes. Gives the
 * one before.
 */
function expectSameWhenResumed(make: () => ReturnType<typeof adamW8bit>): ReturnType<typeof adamW8bit> {
  const [whole, parts] = [new Float32Array(size), new Float32Array(size)];
  minimise(make(), 8, whole);
  const before = make();
  minimise(before, 5, parts);
  const after = make();
  after.load(before.save());
  const noise = createRandom('noise');
  for (let step = 0; step < 8; step++) {
    const gradient = parts.map((value, i) => curvature[i] * (value - target[i]) + 0.05 * noise.normal());
    if (step >= 5) after.step(new Map([['x#w', parts]]), new Map([['x#w', gradient]]), () => 0.02);
  }
  expect(parts).toEqual(whole);
  return before;
}

describe('AdamW with 8-bit states', () => {
  it('reads and writes the unsigned map of bitsandbytes: 254 middles of equal parts of decades, 0 and 1', () => {
    const levels = [...unsignedDynamicMap.levels];
    expect(levels.length).toBe(256);
    expect(new Set(levels).size).toBe(256);
    expect([levels[0], levels[255]]).toEqual([0, 1]);
    // create_dynamic_map(signed=False): the first decade has two parts of [0.1, 1], the last one 128.
    expect(levels[1]).toBeCloseTo(0.325e-6, 12);
    expect(levels[2]).toBeCloseTo(0.775e-6, 12);
    expect(levels[254]).toBeCloseTo(1 - 0.45 / 128, 6);
  });

  it('ends where f32 states end', () => {
    const [exact, narrow] = [minimise(adamW(), 300), minimise(adamW8bit(), 300)];
    expect(exact).toBeLessThan(0.01);
    expect(narrow).toBeLessThan(1.2 * exact + 1e-4);
  });

  it('takes the first step exactly: the sign of the gradient', () => {
    const x = new Float32Array(size);
    const g = Float32Array.from({ length: size }, (_, i) => (i % 2 ? 1e-3 : -2));
    adamW8bit().step(new Map([['x', x]]), new Map([['x', g]]), () => 0.5);
    expect(Math.max(...x.map((value, i) => Math.abs(value + 0.5 * Math.sign(g[i]))))).toBeLessThan(1e-4);
  });

  it('keeps small tensors in f32, counts its bytes, and goes on to the same bytes', () => {
    expect(adamW8bit().stateBytes(256 * 100)).toBe(2 * (256 * 100 + 400));
    const [small, same] = [new Float32Array(10).fill(1), new Float32Array(10).fill(1)];
    const g = new Map([['s', Float32Array.from({ length: 10 }, (_, i) => i - 4.5)]]);
    const [narrow, exact] = [adamW8bit(), adamW()];
    for (let step = 0; step < 5; step++) {
      narrow.step(new Map([['s', small]]), g, () => 0.1);
      exact.step(new Map([['s', same]]), g, () => 0.1);
    }
    expect(small).toEqual(same);

    expectSameWhenResumed(() => adamW8bit());
  });
});

describe('AdamW with 4-bit states', () => {
  it('comes near where f32 states end', () => {
    const [exact, narrow] = [minimise(adamW(), 300), minimise(adamW4bit(), 300)];
    const untrained = target.reduce((sum, value) => sum + value ** 2, 0) / size;
    expect(exact).toBeLessThan(0.01);
    expect(narrow).toBeLessThan(0.01 * untrained);
    expect(narrow).toBeLessThan(3 * exact + 1e-3);
  });

  it('takes half of the bytes of 8 bits, and goes on to the same bytes', () => {
    expect(adamW4bit().stateBytes(256 * 100)).toBe(2 * (128 * 100 + 800));
    const interrupted = expectSameWhenResumed(() => adamW4bit());
    expect(interrupted.heldBytes()).toBe(2 * (size / 2 + 4 * Math.ceil(size / 128)));
  });
});
