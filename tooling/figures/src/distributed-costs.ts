import { createHash } from 'node:crypto';
import { encodeModule, gptqLayout } from '@q/checkpoint';
import {
  createContext,
  createRandom,
  hessian,
  type Kernels,
  perGroup,
  type Statistics,
  scheme,
  tensor,
  uint4,
} from '@q/core';
import { gptq } from '@q/gptq';
import { hqq } from '@q/hqq';
import { createWasmKernels } from '@q/kernels-wasm';
import type { PartCosts } from './simulate-run.js';

/** Width of the matrices that are measured. Larger ones cost the same per operation. */
const width = 512;
const tokens = 512;
const repeats = 3;

/**
 * Processor seconds of one call: the least of a few. Another process on the machine takes wall time, but no processor
 * time of this one.
 */
async function secondsOf(work: () => Promise<unknown> | unknown): Promise<number> {
  await work();
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < repeats; i++) {
    const begin = process.cpuUsage();
    await work();
    const { user, system } = process.cpuUsage(begin);
    least = Math.min(least, (user + system) / 1e6);
  }
  return least;
}

/** Measures the costs of the parts of a run on one thread of this machine, with the wasm kernels. */
export async function measureCosts(): Promise<PartCosts & { readonly kernels: string }> {
  const kernels: Kernels = await createWasmKernels({ threads: 1 });
  try {
    const random = createRandom('distributed costs');
    const normal = (count: number) => Float32Array.from({ length: count }, () => random.normal());
    const [x, values] = [normal(tokens * width), normal(width * width)];
    const weight = tensor('f32', [width, width], values);
    const size = { m: tokens, n: width, k: width };
    const forward = await secondsOf(() => kernels.matmul({ a: x, b: values, ...size, transposeB: true }));
    const out = new Float64Array(width * width);
    const gram = await secondsOf(() => kernels.gram({ x, tokens, width, out }));
    const state = hessian.create(width);
    await hessian.update(state, { x, tokens, width }, kernels);
    // Only the Hessian, without a second pass over an unquantized model.
    const statistics = {
      get: () => state,
      has: ({ name }: { name: string }) => name === hessian.name,
    } as unknown as Statistics;
    const none = { get: () => state, has: () => false } as unknown as Statistics;
    const context = createContext({ kernels });
    const target = scheme({ format: uint4, granularity: perGroup(128), zeroPoint: 'integer' });
    const solve = await secondsOf(() => gptq({ retarget: 0 }).quantize(weight, statistics, target, context));
    const layout = gptqLayout();
    const linear = { module: 'm', inFeatures: width, outFeatures: width, transposed: false, bias: false };
    const round = await secondsOf(async () => {
      const { quantized } = await hqq().quantize(weight, none, target, context);
      encodeModule(layout, { linear, scheme: target }, quantized, kernels.stream);
    });
    const bytes = new Uint8Array(64 * 2 ** 20);
    const hash = await secondsOf(() => createHash('sha256').update(bytes).digest());
    const factored = Float64Array.from(state.sum, (value, i) => value + (i % (width + 1) === 0 ? tokens : 0));
    const factor = await secondsOf(() => kernels.cholesky({ a: factored.slice(), n: width, form: 'reversed-upper' }));
    const perGflop = forward / ((2 * tokens * width * width) / 1e9);
    const products = (perGflop * width ** 3) / 1e9;
    return {
      kernels: kernels.name,
      forward: perGflop,
      gram: gram / ((tokens * width * width) / 1e9),
      factor: factor / (width ** 3 / 3e9),
      sweep: Math.max(0, solve - factor - products) / ((width * width) / 1e6),
      round: round / ((width * width) / 1e6),
      hash: hash / bytes.length,
    };
  } finally {
    await kernels.dispose();
  }
}
