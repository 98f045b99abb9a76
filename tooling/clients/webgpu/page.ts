/** The program in the browser (see chromium.ts). Only it uses `navigator`; the package does not. */
/// <reference types="@webgpu/types" />
import { kernelConformance } from '@q/conformance';
import {
  affineWeight,
  createGpuLinear,
  createInt8Linear,
  createWebgpuKernels,
  ggufWeight,
  gptqWeight,
  openGpu,
} from '@q/kernels-webgpu';

const passed: string[] = [];
const failed: string[] = [];
let name = 'no adapter';

async function attempt(what: string, act: () => Promise<void>): Promise<void> {
  try {
    await act();
    passed.push(what);
  } catch (error) {
    failed.push(`${what}: ${(error as Error).message}`);
  }
}

function near(found: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number): void {
  for (let i = 0; i < expected.length; i++) {
    if (!(Math.abs(found[i] - expected[i]) <= tolerance))
      throw new Error(`value ${i} is ${found[i]}, ${expected[i]} was expected`);
  }
}

async function run(): Promise<void> {
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) throw new Error('this browser has no WebGPU adapter');
  const wanted = ['shader-f16', 'subgroups'].filter((feature) => adapter.features.has(feature)) as GPUFeatureName[];
  const device = await adapter.requestDevice({ requiredFeatures: wanted });
  // A processor compiles small kernels in a fraction of the time.
  const tile = { x: 8, y: 8, perColumn: 4, perRow: 4, depth: 8 };
  const shapes = {
    dense: tile,
    quantized: tile,
    vector: { invocations: 32, rows: 4 },
    shuffle: { invocations: 8, rows: 2, tokens: 4 },
  };
  const options = { device, wgslLanguageFeatures: navigator.gpu.wgslLanguageFeatures, shapes };
  const kernels = createWebgpuKernels(options);
  const gpu = openGpu(options);
  name = `${gpu.description} ${JSON.stringify(gpu.capabilities)}`;
  // The reference computes these two, and it has its own tests.
  const cases = kernelConformance.filter(({ name }) => !/^(cholesky|triangularSolve)/.test(name));
  for (const { name, run } of cases) await attempt(name, () => run(kernels));

  const x = (count: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(i));
  await attempt('golden GPTQ words, decode and prefill', async () => {
    const weight = await gptqWeight(gpu, {
      outFeatures: 8,
      inFeatures: 8,
      bits: 4,
      groupSize: 8,
      qweight: new Uint32Array(8).fill(0x76543210),
      qzeros: Uint32Array.of(0x77777777),
      scales: new Uint16Array(8).fill(0x3c00),
      checkpointFormat: 'gptq',
    });
    const linear = createGpuLinear(gpu, weight);
    near(
      await linear.dequantize(),
      Array.from({ length: 64 }, (_, i) => (i % 8) - 8),
      0,
    );
    for (const tokens of [1, 20]) {
      const input = x(8 * tokens);
      const expected = Array.from({ length: 8 * tokens }, (_, at) => {
        const row = input.subarray(8 * Math.floor(at / 8), 8 * Math.floor(at / 8) + 8);
        return row.reduce((sum, value, i) => sum + value * (i - 8), 0);
      });
      near(await linear.multiply(input, tokens), expected, 1e-5);
    }
  });
  await attempt('golden Q4_0 block', async () => {
    const data = Uint8Array.from('0040809191a2a2b3b3c4c4d5d5e6e6f7f7f8'.match(/../g)!, (byte) =>
      Number.parseInt(byte, 16),
    );
    const weight = await ggufWeight(gpu, { outFeatures: 1, inFeatures: 32, type: 'Q4_0', data });
    near(
      await createGpuLinear(gpu, weight).dequantize(),
      Array.from({ length: 32 }, (_, i) => i - 16),
      2,
    );
  });
  await attempt('integers in groups, decode and prefill', async () => {
    const [outFeatures, inFeatures] = [20, 104];
    const codes = Uint8Array.from({ length: (outFeatures * inFeatures) / 2 }, (_, i) => (i * 37) % 256);
    const scales = Float32Array.from({ length: 2 * outFeatures }, (_, i) => 1 / (i + 8));
    const weight = await affineWeight(gpu, {
      outFeatures,
      inFeatures,
      bits: 4,
      groupSize: 64,
      codes,
      scales,
      zeros: 8,
    });
    const linear = createGpuLinear(gpu, weight);
    const dense = await linear.dequantize();
    for (const tokens of [1, 10]) {
      const input = x(tokens * inFeatures);
      const expected = Array.from({ length: tokens * outFeatures }, (_, at) => {
        const [t, o] = [Math.floor(at / outFeatures), at % outFeatures];
        const row = input.subarray(t * inFeatures, (t + 1) * inFeatures);
        return row.reduce((sum, value, i) => sum + value * dense[o * inFeatures + i], 0);
      });
      near(await linear.multiply(input, tokens), expected, 1e-4);
    }
  });
  await attempt('int8 linear with the outlier split', async () => {
    const codes = Int8Array.from({ length: 4 * 16 }, (_, i) => (i * 29) % 127);
    const weight = { outFeatures: 4, inFeatures: 16, codes, scales: Float32Array.of(0.1, 0.2, 0.3, 0.4) };
    const linear = createInt8Linear(gpu, weight, { outlierThreshold: 6 });
    const input = new Float32Array(16).fill(1);
    input[5] = 50;
    const expected = [0, 1, 2, 3].map((o) =>
      input.reduce((sum, value, i) => sum + value * codes[16 * o + i] * weight.scales[o], 0),
    );
    near(await linear.multiply(input, 1), expected, 1e-2);
  });
  device.destroy();
}

await run().catch((error: Error) => failed.push(error.message));
await fetch('/found', { method: 'POST', body: JSON.stringify({ device: name, passed, failed }) });
