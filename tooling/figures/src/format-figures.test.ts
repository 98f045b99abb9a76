import { describe, expect, it } from 'vitest';
import { formatRow, formatRows, measureFormat, randomWeight } from './format-figures.js';

const gaussian = randomWeight('gaussian', 64, 1024);
const laplace = randomWeight('laplace', 64, 1024);
const decibels = (name: string, weight = gaussian) => measureFormat(formatRow(name), weight).decibels;

describe('what theory says of formats', () => {
  it('NF4 beats INT4 in blocks of 64 of normal values, by more than half a decibel', () => {
    expect(decibels('NF4')).toBeGreaterThan(decibels('INT4 g64') + 0.5);
  });

  it('so does NVFP4; its finer scales beat those of MXFP4', () => {
    expect(decibels('NVFP4')).toBeGreaterThan(decibels('INT4 g64'));
    expect(decibels('NVFP4')).toBeGreaterThan(decibels('MXFP4') + 1);
  });

  it('double quantization costs NF4 less than 0.1 dB', () => {
    expect(decibels('NF4') - decibels('NF4 double-quantized')).toBeLessThan(0.1);
  });

  it('FP8 beats tensor-wise INT4 but not INT8 on normal values; on heavy tails the gap closes', () => {
    expect(decibels('INT8 channel')).toBeGreaterThan(decibels('FP8 E4M3 channel'));
    const gap = (weight: typeof gaussian) => decibels('INT8 tensor', weight) - decibels('FP8 E4M3 tensor', weight);
    expect(gap(laplace)).toBeLessThan(gap(gaussian));
    expect(decibels('FP8 E4M3 tensor')).toBeGreaterThan(decibels('INT4 tensor'));
  });

  it('E4M3 has the noise of three bits of mantissa: 31.5 dB, whatever the distribution', () => {
    // Relative rounding errors uniform in a binade: mean of (2^-4 / m)^2 / 3 over m in [1, 2) is 2^-8 / 6: 31.9 dB.
    for (const weight of [gaussian, laplace])
      expect(Math.abs(decibels('FP8 E4M3 tensor', weight) - 31.7)).toBeLessThan(0.6);
  });

  it('a bit is worth about 6 dB', () => {
    for (const bits of [5, 6]) {
      const step = decibels(`INT${bits + 1} g128`) - decibels(`INT${bits} g128`);
      expect(Math.abs(step - 6.02)).toBeLessThan(0.4);
    }
  });

  it('smaller groups and searched scales never lose', () => {
    for (const weight of [gaussian, laplace]) {
      expect(decibels('INT4 g64', weight)).toBeGreaterThan(decibels('INT4 g128', weight));
      expect(decibels('INT4 g128', weight)).toBeGreaterThan(decibels('INT4 channel', weight));
      for (const { name } of formatRows.filter((row) => row.name.endsWith(', search'))) {
        const plain = name.replace(', search', '');
        if (formatRows.some((row) => row.name === plain)) {
          expect(decibels(name, weight), name).toBeGreaterThan(decibels(plain, weight));
        }
      }
    }
  });

  it('a sixteen-level codebook is at the optimum of Lloyd and Max for normal values: 20.22 dB', () => {
    // Max (1960): mean squared error 0.009497 for 16 levels.
    expect(decibels('k-means, 4 bits, tensor')).toBeGreaterThan(20.1);
    expect(decibels('k-means, 4 bits, tensor')).toBeLessThan(20.5);
  });

  it('signs of normal values: 1 - 2/pi of the power is lost, 4.40 dB', () => {
    expect(decibels('binary channel, XNOR-Net')).toBeCloseTo(-10 * Math.log10(1 - 2 / Math.PI), 1);
  });

  it('ternary: least squares beats the rules of TWN and BitNet', () => {
    const least = decibels('ternary channel, least squares');
    expect(least).toBeGreaterThan(decibels('ternary channel, TWN'));
    expect(least).toBeGreaterThan(decibels('ternary, BitNet b1.58'));
    // Three levels at the optimum of Max (1960): 0.1902.
    expect(least).toBeCloseTo(-10 * Math.log10(0.1902), 0);
  });
});
