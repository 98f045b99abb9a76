import { availableParallelism } from 'node:os';
import { createRandom } from '@q/core';
import { createWasmKernels } from '@q/kernels-wasm';
import type { Benchmark } from '../benchmark.js';
import { timedKernels } from '../kernel-times.js';
import { findPeers, startPeer } from '../peer-process.js';
import { solveLinear } from '../solve-linear.js';

/** Least speed compared with the reference algorithm. */
const goals: Readonly<Record<number, number>> = { 1024: 4, 2048: 4, 4096: 2.5 };

export const benchmark: Benchmark = {
  description:
    'GPTQ of one square layer from its Hessian to its codes: 4 bits, groups of 128, act-order, compared with the published algorithm in PyTorch on as many threads',
  async *comparisons() {
    const threads = availableParallelism();
    const kernels = await createWasmKernels({ threads });
    const python = await findPeers();
    if (!python) console.log('  (no PyTorch: `pnpm bench peers` sets it up)');
    const peer = python ? await startPeer(python, 'serve', threads) : undefined;
    const random = createRandom(1);
    try {
      for (const [n, atLeast] of Object.entries(goals).map(([size, goal]) => [Number(size), goal])) {
        const own = { name: '@q/gptq', run: await solveLinear(n, kernels, random) };
        yield {
          title: `${n} x ${n}`,
          work: n * n,
          unit: 'weights',
          contenders: peer ? [{ name: 'PyTorch', run: () => peer.ask({ solve: n }) }, own] : [own],
          atLeast: { [own.name]: atLeast },
        };
        const { kernels: timed, take } = timedKernels(kernels);
        const once = await solveLinear(n, timed, random);
        await once();
        take();
        await once();
        const parts = Object.entries(take()).map(([part, time]) => `${part} ${time.toFixed(0)}`);
        console.log(`  (processor time of one solve of @q/gptq on all threads, ms: ${parts.join(', ')})`);
      }
    } finally {
      peer?.close();
      await kernels.dispose();
    }
  },
};
