import { availableParallelism } from 'node:os';
import { createContext, createRandom, hessian, int4, perGroup, type Statistics, scheme, tensor } from '@q/core';
import { gptq, paperOptions } from '@q/gptq';
import { createWasmKernels } from '@q/kernels-wasm';
import type { Benchmark } from '../benchmark.js';
import { findPeers, startPeer } from '../peer-process.js';

/** Least speed beside the reference algorithm. */
const goals: Readonly<Record<number, number>> = { 1024: 4, 2048: 4, 4096: 2.5 };

export const benchmark: Benchmark = {
  description:
    'GPTQ of one square layer from its Hessian to its codes: 4 bits, groups of 128, act-order, beside the published algorithm in PyTorch on as many threads',
  async *comparisons() {
    const threads = availableParallelism();
    const kernels = await createWasmKernels({ threads });
    const python = await findPeers();
    if (!python) console.log('  (no PyTorch: `pnpm bench peers` sets it up)');
    const peer = python ? await startPeer(python, 'serve', threads) : undefined;
    const random = createRandom(1);
    const quantizer = gptq(paperOptions);
    const target = scheme({ format: int4, granularity: perGroup(128), zeroPoint: 'integer' });
    try {
      for (const [n, atLeast] of Object.entries(goals).map(([size, goal]) => [Number(size), goal])) {
        const x = new Float32Array(2 * n * n);
        const widths = Float32Array.from({ length: n }, () => random.uniform());
        for (let t = 0; t < 2 * n; t++) {
          const common = 0.5 * random.normal();
          for (let j = 0; j < n; j++) x[t * n + j] = random.normal() * widths[j] + common;
        }
        const state = hessian.create(n);
        await hessian.update(state, { x, tokens: 2 * n, width: n }, kernels);
        const weight = tensor(
          'f32',
          [n, n],
          Float32Array.from({ length: n * n }, () => random.normal()),
        );
        const statistics: Statistics = { get: <S>() => state as S, has: () => true };
        const context = createContext({ kernels });
        const own = { name: '@q/gptq', run: () => quantizer.quantize(weight, statistics, target, context) };
        yield {
          title: `${n} x ${n}`,
          work: n * n,
          unit: 'weights',
          contenders: peer ? [{ name: 'PyTorch', run: () => peer.ask({ solve: n }) }, own] : [own],
          atLeast: { [own.name]: atLeast },
        };
      }
    } finally {
      peer?.close();
      await kernels.dispose();
    }
  },
};
