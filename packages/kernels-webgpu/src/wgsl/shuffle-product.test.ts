import { afterAll, describe, expect, it } from 'vitest';
import { openGpu } from '../device/gpu.js';
import { affineWeight } from '../linear/affine-weight.js';
import { createGpuLinear } from '../linear/gpu-linear.js';
import { openDawn } from '../testing/dawn.js';
import { integers, normals, product, relativeError } from '../testing/reference.js';
import { affineLayout } from './layouts/affine.js';
import { canShuffle, type Lanes, shuffleProduct, shuffleWorkgroups } from './shuffle-product.js';

const found = await openDawn();
afterAll(() => found?.close());

/** Rows, inputs and tokens that leave something over everywhere: of a workgroup, of a step, of a group. */
const [out, width, tokens] = [45, 200, 7];
const shape = { invocations: 8, rows: 2, tokens: 4 };
const integersOf = (bits: 2 | 4 | 8, groupSize: number) => ({
  outFeatures: out,
  inFeatures: width,
  bits,
  groupSize,
  codes: integers((out * width * bits) / 8, 256),
  scales: normals(out * Math.ceil(width / groupSize)),
  zeros: 2 ** (bits - 1) + 0.5,
});

it('needs whole steps of inputs in a group', () => {
  const group = (groupSize: number) => affineLayout({ bits: 4, groupSize, scales: 'half' });
  expect(canShuffle(group(96), 8)).toBe(true);
  expect(canShuffle(group(48), 8)).toBe(false);
  expect(canShuffle(group(48), 4)).toBe(true);
  expect(canShuffle({ ...group(32), group: undefined }, 4)).toBe(false);
});

describe.runIf(found?.device.features.has('subgroups'))('products by shuffles', () => {
  if (!found) return;
  const gpu = openGpu(found);
  const x = normals(tokens * width);
  const fitting = ([4, 8] as const).filter((lanes) => (found.device.adapterInfo.subgroupMinSize ?? 4) >= lanes);

  const cases = fitting.flatMap((lanes) => ([2, 4, 8] as const).map((bits) => [bits, lanes] as const));
  it.each(cases)('of integers of %i bits, inputs loaded by %i lanes', async (bits, lanes: Lanes) => {
    const weight = await affineWeight(gpu, integersOf(bits, 64));
    const dense = await createGpuLinear(gpu, weight).dequantize();
    const [input, output] = [gpu.buffers.upload(x, 'x'), gpu.buffers.create(4 * tokens * out, 'y')];
    const source = shuffleProduct({ label: 'test', b: weight.layout, tokens: shape.tokens, shape, lanes });
    const parameters = { m: tokens, n: out, k: width, stride: out, column0: 0 };
    const storage = [input, ...weight.parts[0].storage, output];
    const groups = shuffleWorkgroups(tokens, out, shape.tokens, shape);
    await gpu.run([await gpu.prepare(source, parameters, storage, groups)]);
    const y = await gpu.read(output, new Float32Array(tokens * out));
    expect(relativeError(y, product(x, dense, tokens, out, width))).toBeLessThan(2e-6);
    gpu.buffers.free(input, output);
    weight.dispose();
  });

  it('are what a linear takes, whatever the tokens, where the shapes say so', async () => {
    const labels: string[] = [];
    const shuffling = openGpu({ ...found, shapes: { ...found.shapes, shuffle: shape } });
    const linear = createGpuLinear(
      {
        ...shuffling,
        prepare(source, ...rest) {
          labels.push(source.label);
          return shuffling.prepare(source, ...rest);
        },
      },
      await affineWeight(shuffling, integersOf(4, 64)),
    );
    const dense = await linear.dequantize();
    labels.length = 0;
    for (const count of [1, 3, 7]) {
      const input = x.subarray(0, count * width);
      const expected = product(input, dense, count, out, width);
      expect(relativeError(await linear.multiply(input, count), expected)).toBeLessThan(2e-6);
    }
    expect(labels).toEqual(['1', '4', '4'].map((count) => `affine 4-bit g64: ${count} tokens`));
    linear.dispose();
  });
});
