import { rmSync } from 'node:fs';
import { copyFile, mkdir, open, readFile, rm, stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import type { Windows } from '@q/calib';
import { gptqLayout, openCheckpoint } from '@q/checkpoint';
import {
  type BlockFormat,
  createContext,
  dequantize,
  type Kernels,
  minMax,
  type QuantizeResult,
  type Quantizer,
  type ScaleFit,
  type Scheme,
  schemes,
  type Tensor,
  weightedSearch,
} from '@q/core';
import { writeLlamaGguf } from '@q/figures/llama-gguf';
import { writeLlama } from '@q/figures/llama-shape';
import { planRequantize, q4_0, q4_K, readGgufHeader, requantize } from '@q/gguf';
import { gptq, paperOptions } from '@q/gptq';
import { createForwardEngine, createWasmKernels } from '@q/kernels-wasm';
import { planRun, runPlan } from '@q/pipeline';
import { rtn } from '@q/rtn';
import { openFile } from '@q/safetensors';
import type { Benchmark, Contender } from '../benchmark.js';
import { findLlamaCpp } from '../llama-cpp.js';
import { processContender } from '../measured-process.js';
import { openRuns, ownCommand, sharedModel } from '../whole-run.js';

/** 108 million weights, 222 MB in bf16. There are few tokens, because embeddings are copied. */
const shape = { hidden: 2048, intermediate: 5632, layers: 2, heads: 16, keyValueHeads: 16, vocabulary: 2000 };
const zeroPoint = schemes.integer(4, { groupSize: 128, zeroPoint: 'integer' });

export const benchmark: Benchmark = {
  description:
    'round to nearest from a folder on the disk to a GPTQ folder on the disk, 4 bits in groups of 128, compared with a copy of the file and llama.cpp',
  async *comparisons() {
    const runs = await openRuns();
    const folder = runs.path;
    const model = join(folder, 'model');
    const out = join(folder, 'out');
    const kernels = await createWasmKernels();
    try {
      await mkdir(model);
      await writeLlama(model, shape, 'random');
      const weights = join(model, 'model.safetensors');
      const { size } = await stat(weights);
      // The copy is synced. Otherwise the disk would still write it while the next contender is timed.
      const copy = async () => {
        await copyFile(weights, join(folder, 'copy'));
        await synced(join(folder, 'copy'));
      };
      const own = (scheme: Scheme, fit: ScaleFit) =>
        quantizeFolder({ model, out }, { quantizer: rtn({ fit }), scheme }, kernels);
      yield {
        title: `${size} bytes of bf16 to GPTQ`,
        work: size,
        unit: 'bytes',
        rounds: 5,
        contenders: [
          { name: 'copy of the file, synced', run: copy },
          { name: 'symmetric, range', run: () => own(schemes.int4, minMax()) },
          { name: 'zero points, range', run: () => own(zeroPoint, minMax()) },
          { name: 'symmetric, search', run: () => own(schemes.int4, weightedSearch()) },
          { name: 'zero points, search', run: () => own(zeroPoint, weightedSearch()) },
          processContender('q quantize --sym --fit minMax', () =>
            ownCommand(
              ...['quantize', model, runs.out(), '--method', 'rtn', '--sym', '--fit', 'minMax'],
              ...['--bits', '4', '--group', '128'],
            ),
          ),
        ],
        atLeast: { 'symmetric, range': 0.5 },
      };
      yield* besideCalibration(out, kernels);
      yield* besideLlamaCpp(folder, model, kernels, own);
    } finally {
      await kernels.dispose();
      await runs.remove();
    }
  },
};

/** A whole run, into a folder that is made again. */
async function quantizeFolder(
  { model, out }: { readonly model: string; readonly out: string },
  { quantizer, scheme }: { readonly quantizer: Quantizer; readonly scheme: Scheme },
  kernels: Kernels,
  calibration?: Windows,
): Promise<void> {
  await rm(out, { recursive: true, force: true });
  const layout = gptqLayout();
  const source = await openCheckpoint(model, [layout]);
  const rule = { match: /^(?!lm_head)/, quantizer, scheme };
  await runPlan(planRun(source, { layout, seed: 0, rules: [rule] }), {
    ...{ out, context: createContext({ kernels }), calibration },
    forward: () => createForwardEngine(),
  });
  await source.close();
}

async function synced(file: string): Promise<void> {
  const handle = await open(file, 'r+');
  await handle.datasync();
  await handle.close();
}

/**
 * A calibrated run, and one that gets its results as input: its remaining work is reading, packing, saving and the
 * report.
 */
async function* besideCalibration(out: string, kernels: Kernels): ReturnType<Benchmark['comparisons']> {
  const model = sharedModel('opt-3m');
  if (!model) return;
  const bytes = await readFile(join(model, 'calib-128x256.u16'));
  const ids = Int32Array.from(new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2));
  const calibration = { ids, count: 128, length: 256 };
  const results = new Map<string, QuantizeResult>();
  const keyOf = ({ shape, data }: Tensor<'f32'>) => `${shape} ${data[0]} ${data[data.length - 1]}`;
  const solver = gptq(paperOptions);
  const recording: Quantizer = {
    ...solver,
    async quantize(weight, ...rest) {
      const result = await solver.quantize(weight, ...rest);
      // The run without calibration judges a result by its distance to its target. Without a target that is the weight,
      // and results of GPTQ would be replaced by round-to-nearest.
      results.set(keyOf(weight), { ...result, target: dequantize(result.quantized) });
      return result;
    },
  };
  const replaying: Quantizer = {
    name: 'replay',
    options: {},
    needs: [],
    quantize: async (weight) => results.get(keyOf(weight)) as QuantizeResult,
  };
  const scheme = schemes.integer(4, { groupSize: 64, zeroPoint: 'integer' });
  const folders = { model, out };
  yield {
    title: 'opt-3m with --method gptq-paper, 128 windows of 256 tokens, and the same run handed its results',
    work: 1,
    unit: 'runs',
    rounds: 2,
    contenders: [
      {
        name: 'calibrated',
        run: () => quantizeFolder(folders, { quantizer: recording, scheme }, kernels, calibration),
      },
      {
        name: 'reading, packing and saving',
        run: () => quantizeFolder(folders, { quantizer: replaying, scheme }, kernels),
      },
    ],
    atLeast: { 'reading, packing and saving': 20 },
  };
}

/**
 * The same f16 file, quantized by llama.cpp and by ours, with one type for all linears; embeddings and output are kept.
 */
async function* besideLlamaCpp(
  folder: string,
  model: string,
  kernels: Kernels,
  own: (scheme: Scheme, fit: ScaleFit) => Promise<void>,
): ReturnType<Benchmark['comparisons']> {
  const llamaCpp = await findLlamaCpp(availableParallelism());
  if (!llamaCpp) {
    console.log(
      '  llama.cpp is left out: the cache has no environment llama-cpp with tooling/bench/peers/llama-cpp.txt',
    );
    return;
  }
  const gguf = join(folder, 'model.gguf');
  const bytes = await writeLlamaGguf(gguf, model);
  const [theirs, ours, processes] = ['theirs', 'ours', 'process'].map((name) => join(folder, `${name}.gguf`));
  const fresh = async (path: string) => {
    await rm(path, { force: true });
    return path;
  };
  const toGptq: Readonly<Record<string, readonly Contender[]>> = {
    Q4_0: [{ name: 'to GPTQ: symmetric, range', run: () => own(schemes.int4, minMax()) }],
    Q4_K: [
      { name: 'to GPTQ: symmetric, search', run: () => own(schemes.int4, weightedSearch()) },
      { name: 'to GPTQ: zero points, search', run: () => own(zeroPoint, weightedSearch()) },
    ],
  };
  try {
    // Shares of the speed of llama.cpp without a process around it. If both run in a process, the second share is
    // higher.
    for (const [type, inside, whole] of [
      [q4_0, 1, 0.6],
      [q4_K, 2.5, 2],
    ] as const) {
      const { name } = type;
      const run = async () => requantizeFile(gguf, await fresh(ours), type, kernels);
      const runTheirs = async () => {
        await llamaCpp.quantize(gguf, await fresh(theirs), name);
        await synced(theirs);
      };
      await run();
      await runTheirs();
      const { different, all } = await differentBytes(ours, theirs);
      console.log(`  ${name}: ${different} of ${all} bytes of tensors differ from llama.cpp's`);
      yield {
        title: `${bytes} bytes of f16 in GGUF to ${name}`,
        work: bytes,
        unit: 'bytes',
        rounds: 3,
        contenders: [
          { name: 'llama.cpp, its work alone', peer: true, run: runTheirs },
          processContender('llama.cpp, start of Python included', () => llamaCpp.command(gguf, processes, name), true),
          { name: 'requantize', run },
          processContender('q gguf, its process included', () => {
            rmSync(processes, { force: true });
            return ownCommand(...['gguf', gguf, processes, '--type', name, '--output', 'keep', '--embeddings', 'keep']);
          }),
          ...toGptq[name],
        ],
        atLeast: { requantize: inside, 'q gguf, its process included': whole },
      };
    }
  } finally {
    llamaCpp.close();
  }
}

async function requantizeFile(from: string, to: string, type: BlockFormat, kernels: Kernels): Promise<void> {
  const source = await openFile(from);
  const plan = planRequantize(await readGgufHeader(source), { type, output: 'keep', embeddings: 'keep' }, from);
  await requantize(source, plan, to, { kernels });
  await source.close();
}

/** Number of bytes that differ in the tensors of two files. */
async function differentBytes(a: string, b: string): Promise<{ readonly different: number; readonly all: number }> {
  const [first, second] = [await openFile(a), await openFile(b)];
  const others = (await readGgufHeader(second)).tensors;
  let [different, all] = [0, 0];
  for (const [name, { begin, end }] of (await readGgufHeader(first)).tensors) {
    const other = others.get(name);
    const size = end - begin;
    all += size;
    if (!other || other.end - other.begin !== size) {
      different += size;
      continue;
    }
    const [x, y] = [await first.slice(begin, end), await second.slice(other.begin, other.end)];
    if (Buffer.compare(x, y) !== 0) for (let i = 0; i < size; i++) if (x[i] !== y[i]) different++;
  }
  await first.close();
  await second.close();
  return { different, all };
}
