import { packBits, packTernary } from '@q/core';
import { afterAll, describe, expect, it } from 'vitest';
import { openGpu } from '../device/gpu.js';
import { openDawn } from '../testing/dawn.js';
import { integers, normals, product } from '../testing/reference.js';
import { gpuMatmulBits, gpuMatmulSigns, gpuMatmulTernary } from './bitwise-matmul.js';
import { gpuQuantizeGroups } from './quantize-groups.js';

const found = await openDawn();
afterAll(() => found?.close());

describe.runIf(found)('codes', () => {
  if (!found) return;
  const gpu = openGpu(found);
  const [m, n, k] = [11, 19, 77];
  const draw = (levels: readonly number[], count: number) =>
    [...integers(count, levels.length)].map((code) => levels[code]);

  it('products of signs, bits and ternary values are exact', async () => {
    const signs = [draw([-1, 1], m * k), draw([-1, 1], n * k)] as const;
    const packSigns = (x: number[], rows: number) => packBits(x, rows, k, (value) => value > 0);
    expect([...(await gpuMatmulSigns(gpu, packSigns(signs[0], m), packSigns(signs[1], n)))]).toEqual([
      ...product(...signs, m, n, k),
    ]);
    const bits = [draw([0, 1], m * k), draw([0, 1], n * k)] as const;
    const packed = [packBits(bits[0], m, k, Boolean), packBits(bits[1], n, k, Boolean)] as const;
    expect([...(await gpuMatmulBits(gpu, ...packed))]).toEqual([...product(...bits, m, n, k)]);
    const ternary = [draw([-1, 0, 1], m * k), draw([-1, 0, 1], n * k)] as const;
    const masks = [packTernary(ternary[0], m, k, Math.sign), packTernary(ternary[1], n, k, Math.sign)] as const;
    expect([...(await gpuMatmulTernary(gpu, ...masks))]).toEqual([...product(...ternary, m, n, k)]);
    expect(gpu.buffers.bytes).toBe(0);
  });

  it('quantize rounds halves to even, saturates, and takes short last groups', async () => {
    const scale = Float32Array.of(0.5, 1);
    const x = Float32Array.of(0.25, 0.75, 1.25, -0.25, 100, -100, 2.5, 3.5);
    const args = { x, rows: 1, columns: 8, bits: 4, groupSize: 6, scales: scale, zeros: Float32Array.of(2, 0) };
    expect([...(await gpuQuantizeGroups(gpu, args))]).toEqual([2, 4, 4, 2, 15, 0, 2, 4]);
    const [rows, columns] = [5, 30];
    const groups = 4;
    const scales = normals(rows * groups).map((v) => 0.1 + Math.abs(v));
    const zeros = Float32Array.from(integers(rows * groups, 8));
    const values = normals(rows * columns);
    const codes = await gpuQuantizeGroups(gpu, { x: values, rows, columns, bits: 3, groupSize: 8, scales, zeros });
    for (const [i, code] of codes.entries()) {
      const g = Math.floor(i / columns) * groups + Math.floor((i % columns) / 8);
      const exact = Math.min(7, Math.max(0, values[i] / scales[g] + zeros[g]));
      expect(Math.abs(code - exact)).toBeLessThan(0.5 + 1e-5);
    }
    await expect(gpuQuantizeGroups(gpu, { ...args, zeros: scale.subarray(1) })).rejects.toThrow('got 8, 2 and 1');
  });
});
