import { describe, expect, it } from 'vitest';
import { ConfigReader } from './config-reader.js';
import { readRotaryPositions } from './rotary-positions.js';

const read = (config: Record<string, unknown>, headDim: number) =>
  readRotaryPositions(new ConfigReader(config), headDim);
const frequency = (theta: number, k: number, headDim: number) => theta ** ((-2 * k) / headDim);

describe('rotary positions', () => {
  it('come from both forms of the config', () => {
    const old = read({ rope_theta: 500000 }, 64);
    const recent = read({ rope_parameters: { rope_theta: 500000, rope_type: 'default' } }, 64);
    expect(recent.frequencies).toEqual(old.frequencies);
    old.frequencies.forEach((value, k) => {
      expect(Math.abs(value / frequency(500000, k, 64) - 1)).toBeLessThan(3e-7);
    });
    expect(read({}, 8).frequencies[1]).toBe(Math.fround(0.1));
  });

  it('are tables of cosines and sines that grow', () => {
    const positions = read({}, 4);
    const short = positions.table(3);
    expect(short.positions).toBe(3);
    expect(short.cos[2 * 2 + 1]).toBeCloseTo(Math.cos(0.02), 7);
    expect(short.sin[2 * 2]).toBeCloseTo(Math.sin(2), 7);
    expect(positions.table(2)).toBe(short);
    const long = positions.table(4);
    expect(long.positions).toBe(6);
    expect(long.cos.subarray(0, 6)).toEqual(short.cos);
  });

  it('linear: positions are divided by the factor', () => {
    for (const scaling of [
      { type: 'linear', factor: 4 },
      { rope_type: 'linear', factor: 4 },
    ]) {
      const { frequencies } = read({ rope_scaling: scaling }, 16);
      frequencies.forEach((value, k) => {
        expect(Math.abs((value * 4) / frequency(10000, k, 16) - 1)).toBeLessThan(3e-7);
      });
    }
  });

  it('llama3: agrees with the divisors that GGUF files store (rope_freqs)', () => {
    const [theta, factor, low, high, context, headDim] = [500000, 32, 1, 4, 8192, 64];
    const { frequencies } = read(
      {
        rope_theta: theta,
        rope_scaling: {
          rope_type: 'llama3',
          factor,
          low_freq_factor: low,
          high_freq_factor: high,
          original_max_position_embeddings: context,
        },
      },
      headDim,
    );
    const kinds = new Set<string>();
    frequencies.forEach((value, k) => {
      const base = frequency(theta, k, headDim);
      const wavelength = (2 * Math.PI) / base;
      const smooth = (context / wavelength - low) / (high - low);
      const kind = wavelength < context / high ? 'kept' : wavelength > context / low ? 'stretched' : 'blended';
      const divisor = { kept: 1, stretched: factor, blended: 1 / ((1 - smooth) / factor + smooth) }[kind];
      kinds.add(kind);
      expect(Math.abs((value * divisor) / base - 1)).toBeLessThan(1e-6);
    });
    expect([...kinds].toSorted()).toEqual(['blended', 'kept', 'stretched']);
  });
});
