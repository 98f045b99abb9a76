import { availableParallelism } from 'node:os';
import { createRandom, quantize, schemes, tensor } from '@q/core';
import { createWasmKernels } from '@q/kernels-wasm';
import type { Benchmark } from '../benchmark.js';
import { growthPlot } from '../growth-plot.js';
import { processContender } from '../measured-process.js';
import { solveLinear } from '../solve-linear.js';
import { openRuns, ownCommand, sharedModel } from '../whole-run.js';

const sizes = [256, 512, 1024, 2048];
const windows = [16, 32, 64, 128];
const columns = 'columns of a square layer';
const named = (threads: number) => (threads === 1 ? '1 thread' : `${threads} threads`);

export const benchmark: Benchmark = {
  description: 'how time grows: with the size of a layer, with calibration tokens, with threads',
  async *comparisons() {
    const cores = availableParallelism();
    const threads = Array.from({ length: cores }, (_, i) => i + 1).filter((n) => (n & (n - 1)) === 0);
    const random = createRandom(1);
    const kernels = await createWasmKernels({ threads: cores });
    try {
      const layers = [];
      for (const n of sizes) layers.push(await solveLinear(n, kernels));
      yield {
        title: 'GPTQ of a layer',
        work: 1,
        unit: 'layers',
        rounds: 7,
        contenders: layers.map((run, i) => ({ name: `${sizes[i]} x ${sizes[i]}`, run })),
        growth: { quantity: columns, sizes },
      };
    } finally {
      await kernels.dispose();
    }
    const target = schemes.integer(4, { groupSize: 128, zeroPoint: 'integer' });
    const weights = sizes.map((n) =>
      tensor(
        'f32',
        [n, n],
        Float32Array.from({ length: n * n }, () => random.normal()),
      ),
    );
    yield {
      title: 'round to nearest',
      work: 1,
      unit: 'layers',
      contenders: weights.map((weight, i) => ({
        name: `${sizes[i]} x ${sizes[i]}`,
        run: () => quantize(weight, target),
      })),
      growth: { quantity: columns, sizes },
    };
    const engines = await Promise.all(threads.map((count) => createWasmKernels({ threads: count })));
    try {
      const solves = [];
      for (const engine of engines) solves.push(await solveLinear(2048, engine));
      yield {
        title: 'GPTQ of a layer of 2048',
        work: 1,
        unit: 'layers',
        rounds: 5,
        contenders: solves.map((run, i) => ({ name: named(threads[i]), run })),
        growth: { quantity: 'threads', sizes: threads },
      };
    } finally {
      for (const engine of engines) await engine.dispose();
    }
    const model = sharedModel('llama-5m');
    if (!model) return;
    const runs = await openRuns();
    const { calib, out } = runs.of(model, 128);
    const whole = (name: string, options: readonly string[]) =>
      processContender(name, () =>
        ownCommand(
          ...['quantize', model, out(), '--calib', calib],
          ...['--method', 'gptq-paper', '--engine', 'wasm', '--no-eval', ...options],
        ),
      );
    try {
      yield {
        title: 'a run with GPTQ on llama-5m',
        work: 1,
        unit: 'runs',
        rounds: 3,
        contenders: windows.map((count) => whole(`${count} windows of 256 tokens`, ['--samples', String(count)])),
        growth: { quantity: 'calibration tokens', sizes: windows.map((count) => 256 * count) },
      };
      yield {
        title: 'a run with GPTQ on llama-5m, 128 windows',
        work: 1,
        unit: 'runs',
        rounds: 3,
        contenders: threads.map((count) => whole(named(count), ['--threads', String(count)])),
        growth: { quantity: 'threads', sizes: threads },
      };
    } finally {
      await runs.remove();
    }
  },
  draw: growthPlot,
};
