import { availableParallelism } from 'node:os';
import { createRandom, type Kernels } from '@q/core';
import { createWasmKernels } from '@q/kernels-wasm';
import { createEngine, nativeAbsence } from '@q/tfjs';
import type { Benchmark } from '../benchmark.js';

export const benchmark: Benchmark = {
  description: 'f32 products compared with tfjs (wasm, and node where it is set up) and one thread of the same kernels',
  async *comparisons() {
    const cores = availableParallelism();
    const random = createRandom(1);
    const kernels: Kernels[] = [
      await createWasmKernels({ threads: 1, simd: 'simd128' }),
      await createWasmKernels({ threads: 1 }),
      ...(cores > 1 ? [await createWasmKernels({ threads: cores })] : []),
    ];
    const engines = [await createEngine({ backend: 'wasm' })];
    if (!nativeAbsence()) engines.push(await createEngine({ backend: 'node', threads: cores }));
    try {
      for (const [m, n, k] of [
        [512, 512, 512],
        [1024, 1024, 1024],
        [2048, 688, 256],
        [2048, 2048, 2048],
      ]) {
        const [a, b] = [m * k, n * k].map((count) => Float32Array.from({ length: count }, () => random.normal()));
        const out = new Float32Array(m * n);
        const uploads = engines.map(({ ops }) => [ops.fromF32(a, [m, k]), ops.fromF32(b, [n, k])]);
        yield {
          title: `[${m}, ${k}] x [${n}, ${k}]^T`,
          work: 2 * m * n * k,
          unit: 'FLOP',
          contenders: [
            ...engines.map(({ name, ops }, i) => ({
              name,
              run: () => {
                const y = ops.linear(uploads[i][0], uploads[i][1]);
                // The native engine computes only when values are read.
                ops.dispose(y);
              },
            })),
            ...kernels.map((each) => ({
              name: `${each.name}, ${each.threads} thread${each.threads > 1 ? 's' : ''}`,
              run: () => each.sync?.matmul({ a, b, m, n, k, transposeB: true, out }),
            })),
          ],
          atLeast: { [`${kernels[1].name}, ${cores} threads`]: 3 },
        };
        engines.forEach(({ ops }, i) => {
          for (const x of uploads[i]) ops.dispose(x);
        });
      }
    } finally {
      for (const each of [...kernels, ...engines]) await each.dispose();
    }
  },
};
