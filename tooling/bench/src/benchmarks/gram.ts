import { availableParallelism } from 'node:os';
import { createRandom } from '@q/core';
import { createWasmKernels } from '@q/kernels-wasm';
import { createEngine, nativeAbsence } from '@q/tfjs';
import type { Benchmark } from '../benchmark.js';

export const benchmark: Benchmark = {
  description:
    'X^T X of 2,048 tokens added to a Hessian in f64, at once and as a run gathers it over many batches, compared with the plain product of tfjs, which does twice the work',
  async *comparisons() {
    const cores = availableParallelism();
    const random = createRandom(1);
    const kernels = await createWasmKernels({ threads: cores });
    const engines = [await createEngine({ backend: 'wasm' })];
    if (!nativeAbsence()) engines.push(await createEngine({ backend: 'node', threads: cores }));
    const tokens = 2048;
    try {
      for (const width of [256, 1024, 2048]) {
        const x = Float32Array.from({ length: tokens * width }, () => random.normal());
        const out = new Float64Array(width * width);
        const gatherings = [kernels, ...engines].flatMap(({ name, gatherGrams }) => {
          const gathered = gatherGrams?.(kernels);
          return gathered ? [{ name: `${name}, gathered`, gathered }] : [];
        });
        const turned = engines.map(({ ops }) => ops.scope(() => ops.transpose(ops.fromF32(x, [tokens, width]))));
        yield {
          title: `width ${width}`,
          // Multiplications and additions of a symmetric result.
          work: tokens * width * (width + 1),
          unit: 'FLOP',
          contenders: [
            ...engines.map(({ name, ops }, i) => ({
              name,
              run: () => ops.dispose(ops.linear(turned[i], turned[i])),
            })),
            {
              name: `${kernels.name}, ${cores} threads`,
              run: () => kernels.gram({ x, tokens, width, out }),
            },
            ...gatherings.map(({ name, gathered }) => ({
              name,
              run: () => gathered.kernels.gram({ x, tokens, width, out }),
            })),
          ],
        };
        for (const { gathered } of gatherings) gathered.release();
        engines.forEach(({ ops }, i) => {
          ops.dispose(turned[i]);
        });
      }
    } finally {
      for (const each of [kernels, ...engines]) await each.dispose();
    }
  },
};
