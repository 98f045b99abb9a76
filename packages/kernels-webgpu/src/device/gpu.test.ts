import { KernelError } from '@q/core';
import { afterAll, describe, expect, it } from 'vitest';
import { gram } from '../kernels/gram.js';
import { matmul } from '../kernels/matmul.js';
import { matmulInt8 } from '../kernels/matmul-int8.js';
import { createWebgpuKernels } from '../kernels/webgpu-kernels.js';
import { ggufWeight } from '../linear/gguf-weight.js';
import { createGpuLinear } from '../linear/gpu-linear.js';
import { openDawn, type TestDevice } from '../testing/dawn.js';
import { integers, normals, product, relativeError } from '../testing/reference.js';
import { capabilitiesOf } from './capabilities.js';
import { openGpu } from './gpu.js';

const found = await openDawn();
const nothing = await openDawn({ backend: 'null' });
afterAll(() => {
  found?.close();
  nothing?.close();
});

/** A device whose bindings are at most `bytes`, as far as the kernels can tell. */
const small = ({ device, wgslLanguageFeatures, shapes }: TestDevice, bytes: number) =>
  openGpu({
    wgslLanguageFeatures,
    shapes,
    device: new Proxy(device, {
      get(target, key) {
        if (key === 'limits')
          return {
            maxStorageBufferBindingSize: bytes,
            maxBufferSize: 2 ** 28,
            maxComputeWorkgroupsPerDimension: 65535,
          };
        const value = Reflect.get(target, key, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    }),
  });

describe('a device', () => {
  it('that is absent is asked for', () => {
    expect(() => createWebgpuKernels({ device: undefined as unknown as GPUDevice })).toThrow(KernelError);
    expect(() => openGpu({ device: {} as GPUDevice })).toThrow('take a GPUDevice');
  });

  it('that is too small is told which limit, and what is needed', () => {
    const gpu = small(nothing!, 1 << 20);
    expect(() => gpu.buffers.create(2 << 20, 'weights')).toThrow(
      'weights needs 2097152 bytes in one binding, the device allows 1048576 (maxStorageBufferBindingSize)',
    );
  });

  it('that is lost says so at the next call, and the reason', async () => {
    const lost = (await openDawn({ backend: 'null' }))!;
    const kernels = createWebgpuKernels(lost);
    const one = Float32Array.of(1);
    await kernels.matmul({ a: one, b: one, m: 1, n: 1, k: 1 });
    lost.close();
    await lost.device.lost;
    const failed = kernels.matmul({ a: one, b: one, m: 1, n: 1, k: 1 });
    await expect(failed).rejects.toThrow(KernelError);
    await expect(failed).rejects.toThrow(/device is lost \(destroyed.*or use other kernels/);
  });

  it('has the variants that it was requested with, and not what is turned off', () => {
    expect(capabilitiesOf(new Set(['subgroups']))).toEqual({ f16: false, subgroups: true, packedDot: false });
    expect(openGpu(nothing!).capabilities).toEqual({ f16: true, subgroups: true, packedDot: true });
    const bare = openGpu({ device: nothing!.device, without: ['f16', 'subgroups'] });
    expect(bare.capabilities).toEqual({ f16: false, subgroups: false, packedDot: false });
  });
});

describe.runIf(found)('work larger than a binding', () => {
  if (!found) return;

  it.each([
    [false, false],
    [true, false],
    [false, true],
    [true, true],
  ])('goes in parts: product, A^T %s, B^T %s', async (transposeA, transposeB) => {
    const gpu = small(found, 4096);
    const [m, n, k] = [50, 70, 30];
    const [a, b, start] = [normals(m * k), normals(n * k), normals(m * n)];
    const args = { a, b, m, n, k, transposeA, transposeB };
    const whole = await matmul(openGpu(found), args);
    expect(await matmul(gpu, args)).toEqual(whole);
    const sum = await matmul(gpu, { ...args, out: start.slice(), accumulate: true });
    expect(
      relativeError(
        sum,
        whole.map((x, i) => x + start[i]),
      ),
    ).toBeLessThan(1e-6);
    expect(gpu.buffers.bytes).toBe(0);
  });

  it('goes in parts: the Gram matrix', async () => {
    const [tokens, width] = [20, 45];
    const x = normals(tokens * width);
    const transposed = Float64Array.from(
      { length: x.length },
      (_, i) => x[(i % tokens) * width + Math.floor(i / tokens)],
    );
    const out = new Float64Array(width * width);
    await gram(small(found, 4096), { x, tokens, width, out });
    expect(relativeError(out, product(transposed, transposed, width, width, tokens))).toBeLessThan(1e-6);
    for (let i = 0; i < width; i++) for (let j = 0; j < i; j++) expect(out[i * width + j]).toBe(out[j * width + i]);
  });

  it('goes in parts: int8 products, weights', async () => {
    const gpu = small(found, 2048);
    const bytes = (count: number) => Int8Array.from(integers(count, 256), (x) => x - 128);
    const args = { a: bytes(60 * 40), b: bytes(70 * 40), m: 60, n: 70, k: 40 };
    expect(await matmulInt8(gpu, args)).toEqual(Int32Array.from(product(args.a, args.b, 60, 70, 40)));
    const data = integers(48 * 4 * 18, 256).map((byte, i) => (i % 18 === 1 ? 0x2c : byte));
    const args2 = { outFeatures: 48, inFeatures: 128, type: 'Q4_0' as const, data };
    const parts = await ggufWeight(gpu, args2);
    expect(parts.parts.length).toBeGreaterThan(1);
    const whole = await ggufWeight(openGpu(found), args2);
    const values = await createGpuLinear(openGpu(found), whole).dequantize();
    expect(await createGpuLinear(gpu, parts).dequantize()).toEqual(values);
    const x = normals(12 * 128);
    for (const tokens of [1, 12]) {
      const input = x.subarray(0, tokens * 128);
      const y = await createGpuLinear(gpu, parts).multiply(input, tokens);
      const expected = await createGpuLinear(openGpu(found), whole).multiply(input, tokens);
      expect(relativeError(y, expected)).toBeLessThan(1e-6);
    }
  });

  it('gives the same bytes each time', async () => {
    const gpu = openGpu(found);
    const args = { a: normals(40 * 100), b: normals(30 * 100), m: 40, n: 30, k: 100 };
    expect(await matmul(gpu, args)).toEqual(await matmul(gpu, args));
  });
});
