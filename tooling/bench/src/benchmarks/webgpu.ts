import { createRandom } from '@q/core';
import { createWasmKernels } from '@q/kernels-wasm';
import { affineWeight, createGpuLinear, createWebgpuKernels, openGpu } from '@q/kernels-webgpu';
import { create, globals } from 'webgpu';
import type { Benchmark, Comparison } from '../benchmark.js';
import { largestDifference, loadOnnxRuntime, onnxLinear } from '../onnxruntime.js';
import { createTfjsWebgpu } from '../tfjs-webgpu.js';

const random = createRandom('bench webgpu');
const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal());

/** `[tokens, k] x [n, k]^T`, from host to host, as both sides offer it. */
async function* comparisons(): AsyncGenerator<Comparison> {
  Object.assign(globalThis, globals);
  let dawn: GPU | undefined = create([]);
  const adapter = await dawn.requestAdapter();
  if (!adapter) {
    console.log('  no WebGPU adapter on this machine: nothing is measured');
    return;
  }
  const wanted = ['shader-f16', 'subgroups'].filter((name) => adapter.features.has(name)) as GPUFeatureName[];
  const device = await adapter.requestDevice({ requiredFeatures: wanted });
  const gpu = openGpu({ device, wgslLanguageFeatures: dawn.wgslLanguageFeatures });
  console.log(`  ${gpu.description}: ${JSON.stringify(gpu.capabilities)}`);
  const ort = loadOnnxRuntime();
  const tfjs = await createTfjsWebgpu(dawn);
  const wasm = await createWasmKernels();
  for (const [k, n, tokens, blockSize] of [
    [2048, 2048, 1, 32],
    [2048, 2048, 1, 128],
    [2048, 5632, 1, 32],
    [1024, 1024, 128, 32],
    [2048, 2048, 128, 128],
  ] as const) {
    const codes = Uint8Array.from({ length: (n * k) / 2 }, () => random.integer(256));
    const scales = normals((n * k) / blockSize).map((x) => (0.5 + Math.abs(x)) / 64);
    const x = normals(tokens * k);
    const description = {
      outFeatures: n,
      inFeatures: k,
      bits: 4,
      groupSize: blockSize,
      codes,
      scales,
      zeros: 8,
    } as const;
    const weight = await affineWeight(gpu, description);
    const linear = createGpuLinear(gpu, weight);
    const dense = await linear.dequantize();
    const contenders: Comparison['contenders'][number][] = [];
    const y = await linear.multiply(x, tokens);
    const bytes = codes.length + 2 * scales.length;
    if (ort) {
      for (const provider of ['webgpu', 'cpu'] as const) {
        const theirs = await onnxLinear(ort, { k, n, blockSize, codes, scales }, { provider });
        const once = () => theirs.multiply(x, tokens);
        console.log(
          `  onnxruntime ${provider} differs by ${largestDifference(await once(), y).toExponential(1)} at most`,
        );
        contenders.push({ name: `onnxruntime ${provider} MatMulNBits`, run: once });
      }
    }
    const unpacked = tfjs.linear(dense, n, k);
    const onTfjs = () => unpacked.multiply(x, tokens);
    console.log(`  tfjs webgpu differs by ${largestDifference(await onTfjs(), y).toExponential(1)} at most`);
    contenders.push({ name: 'tfjs webgpu, f32 weights', run: onTfjs });
    contenders.push({ name: 'webgpu, 4-bit weights', run: () => linear.multiply(x, tokens) });
    contenders.push({
      name: `${wasm.name}, f32 weights`,
      run: () => wasm.matmul({ a: x, b: dense, m: tokens, n, k, transposeB: true }),
    });
    yield {
      title: `W4 linear, ${tokens} x ${k} x ${n}, blocks of ${blockSize}`,
      work: tokens === 1 ? bytes : 2 * tokens * k * n,
      unit: tokens === 1 ? 'bytes' : 'FLOP',
      contenders,
      atLeast: ort ? { 'webgpu, 4-bit weights': 1 } : {},
    };
    linear.dispose();
    unpacked.dispose();
  }
  const kernels = createWebgpuKernels({ device, wgslLanguageFeatures: dawn.wgslLanguageFeatures });
  for (const size of [512, 1024]) {
    const [a, b] = [normals(size * size), normals(size * size)];
    const square = { m: size, n: size, k: size };
    const onTfjs = async () => {
      const theirs = tfjs.linear(b, size, size, false);
      await theirs.multiply(a, size);
      theirs.dispose();
    };
    yield {
      title: `f32 product, ${size} square`,
      work: 2 * size ** 3,
      unit: 'FLOP',
      contenders: [
        { name: 'tfjs webgpu', run: onTfjs },
        ...[kernels, wasm].map((of) => ({ name: of.name, run: () => of.matmul({ a, b, ...square }) })),
      ],
      atLeast: { [kernels.name]: 1 },
    };
  }
  const size = 512;
  const square = { m: size, n: size, k: size };
  const bytes = () => Int8Array.from(normals(size * size), (value) => Math.max(-127, Math.min(127, 40 * value)));
  const [a8, b8] = [bytes(), bytes()];
  yield {
    title: `int8 product, ${size} square`,
    work: 2 * size ** 3,
    unit: 'OP',
    contenders: [wasm, kernels].map((of) => ({ name: of.name, run: () => of.matmulInt8({ a: a8, b: b8, ...square }) })),
  };
  await wasm.dispose();
  device.destroy();
  tfjs.dispose();
  dawn = undefined;
}

export const benchmark: Benchmark = {
  description:
    'linears with 4-bit weights compared with onnxruntime and tfjs on the same adapter, and products compared with tfjs and wasm, from host to host',
  comparisons,
};
