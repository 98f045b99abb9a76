import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readU16Windows, type Windows } from '@q/calib';
import { type Checkpoint, gptqLayout, openCheckpoint } from '@q/checkpoint';
import {
  type ActivationScheme,
  createContext,
  dequantize,
  type Kernels,
  type QuantizedTensor,
  quantizeInt8Input,
} from '@q/core';
import { runWindows, type WindowRunOptions } from '@q/eval';
import { type InputExecution, inputExecution } from '@q/execution';
import { createWasmKernels } from '@q/kernels-wasm';
import { wrapRuntime } from '@q/models';
import { planRun, runPlan } from '@q/pipeline';
import { smoothquant } from '@q/smoothquant';
import { createEngine } from '@q/tfjs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { builtin, readersOf } from './registry.js';
import { demo } from './testing/demo.js';
import { runCommand } from './testing/run-command.js';
import { loadWindows } from './texts.js';

let folder: string;
let kernels: Kernels;
beforeAll(async () => {
  kernels = await createWasmKernels({ threads: 1 });
});
afterAll(() => kernels.dispose());
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-int8-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const calibration = ['--calib', demo.calibration, '--samples', '4', '--length', '32'];
const demoWindows = (count: number) => loadWindows(demo.model, { path: demo.heldOut, length: 32, count });

async function logits(checkpoint: Checkpoint, windows: Windows, options: WindowRunOptions = {}): Promise<Float32Array> {
  if (!checkpoint.model) throw checkpoint.unknownArchitecture as Error;
  const engine = await createEngine({ kernels });
  const source = await runWindows(checkpoint.model, engine, (name) => checkpoint.weight(name), windows, options);
  const values = await source.logits(0, 1);
  await engine.dispose();
  return values;
}

function distance(a: Float32Array, b: Float32Array): number {
  let [difference, norm] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    difference += (a[i] - b[i]) ** 2;
    norm += b[i] ** 2;
  }
  return Math.sqrt(difference / norm);
}

const shared = process.env.QUANT_SHARED;
if (!shared) console.log('folding invariance is checked on the demo model alone: QUANT_SHARED is not set');
const subjects: [name: string, path: string][] = [
  ['demo', demo.model],
  ...(shared
    ? ['llama-5m', 'gpt2-3m', 'opt-3m'].map((name): [string, string] => [name, join(shared, 'models', name)])
    : []),
];

describe('smoothing', () => {
  it.each(subjects)('leaves the logits of %s as they were, within 1e-4', async (name, path) => {
    const windows =
      name === 'demo'
        ? await demoWindows(2)
        : cut(readU16Windows(await readFile(join(path, 'valid-60x256.u16')), 256), 2, 64);
    const source = await openCheckpoint(path, []);
    const out = join(folder, name);
    const plan = planRun(source, {
      layout: gptqLayout(),
      transforms: [smoothquant({ alpha: 0.8, edges: 'all' })],
      rules: [{ match: '*', keep: true }],
      seed: 0,
    });
    await runPlan(plan, {
      out,
      context: createContext({ kernels }),
      calibration: windows,
      engine: () => createEngine({ kernels }),
    });
    const smoothed = await openCheckpoint(out, []);
    const [block] = plan.model?.blocks ?? [];
    for (const { producer } of block?.edges ?? [])
      expect((await smoothed.weight(`${producer.module}.weight`)).data).not.toEqual(
        (await source.weight(`${producer.module}.weight`)).data,
      );
    expect(distance(await logits(smoothed, windows), await logits(source, windows))).toBeLessThan(1e-4);
    await source.close();
    await smoothed.close();
  });
});

function cut({ ids, length }: Windows, count: number, shorter: number): Windows {
  const part = Array.from({ length: count }, (_, i) => [...ids.subarray(i * length, i * length + shorter)]);
  return { ids: Int32Array.from(part.flat()), count, length: shorter };
}

/**
 * Runs a folder on integers, and gives the largest distance of a linear's output to the same grids in floating point, multiplied
 * and summed in f64. Each linear is compared on its own input: over a whole model one value that falls on the other side of a
 * border of two codes is enough to move others behind it.
 */
async function distanceToSimulation(checkpoint: Checkpoint, windows: Windows, { wrap }: InputExecution) {
  const distances: number[] = [];
  const compared: NonNullable<WindowRunOptions['wrap']> = async (runtime, names) => {
    const modules = new Map<string, { quantized: QuantizedTensor; activation: ActivationScheme }>();
    for (const module of names.map((name) => name.replace(/\.weight$/, ''))) {
      const quantized = await checkpoint.quantized(module);
      const activation = await checkpoint.activation(module);
      if (quantized && activation) modules.set(module, { quantized, activation });
    }
    const { ops } = runtime;
    return wrapRuntime(await wrap(runtime, names), {
      linear(module, x, inner) {
        const y = inner(module, x);
        const found = modules.get(module);
        if (!found) return y;
        const bias = runtime.has(`${module}.bias`) ? ops.dataSync(runtime.weight(`${module}.bias`)) : undefined;
        distances.push(distance(ops.dataSync(y), simulate(ops.dataSync(x), found.quantized, found.activation, bias)));
        return y;
      },
    });
  };
  const values = await logits(checkpoint, windows, { wrap: compared });
  return { values, distances };
}

function simulate(x: Float32Array, weight: QuantizedTensor, activation: ActivationScheme, bias?: Float32Array) {
  const [features, width] = weight.shape;
  const { data } = dequantize(weight);
  const { codes, scales } = quantizeInt8Input(x, width, activation);
  return Float32Array.from({ length: (codes.length / width) * features }, (_, i) => {
    const [row, feature] = [Math.floor(i / features), i % features];
    let sum = 0;
    for (let j = 0; j < width; j++) sum += codes[row * width + j] * data[feature * width + j];
    return sum * scales[scales.length === 1 ? 0 : row] + (bias?.[feature] ?? 0);
  });
}

describe('q quantize --method smoothquant', () => {
  it.each(['o1', 'o2', 'o3', 'per-channel'])('%s writes a folder that runs on integers as simulated', async (level) => {
    const out = join(folder, level);
    const argv = [
      'quantize',
      demo.model,
      out,
      '--method',
      'smoothquant',
      '--level',
      level,
      ...calibration,
      '--no-eval',
    ];
    const { code, err } = await runCommand(argv);
    expect(err).not.toContain('rror');
    expect(code).toBe(0);
    const { quantization_config: config } = JSON.parse(await readFile(join(out, 'config.json'), 'utf8'));
    expect(config).toMatchObject({ quant_method: 'compressed-tensors', format: 'int-quantized' });
    const written = await openCheckpoint(out, readersOf(builtin));
    expect(written.quantizedModules.length).toBe(28);
    expect(written.tensors.has('model.layers.0.mlp.down_proj.input_scale')).toBe(level === 'o3');
    const original = await openCheckpoint(demo.model, []);
    const windows = await demoWindows(2);
    const execution = await inputExecution(written, kernels);
    expect(execution?.note).toContain('28 linears run as int8 products');
    const { values, distances } = await distanceToSimulation(written, windows, execution as InputExecution);
    expect(distances.length).toBe(28);
    expect(Math.max(...distances)).toBeLessThan(1e-6);
    expect(distance(values, await logits(original, windows))).toBeGreaterThan(1e-4);
    await written.close();
    await original.close();
  });

  it('searches alpha for each edge and reports it', async () => {
    const out = join(folder, 'search');
    const argv = ['quantize', demo.model, out, '--method', 'smoothquant', '--alpha', 'search', ...calibration];
    const { code, out: json } = await runCommand([...argv, '--no-eval', '--json']);
    expect(code).toBe(0);
    const { transforms, recipe } = JSON.parse(json);
    expect(transforms.length).toBe(4);
    for (const { figures } of transforms)
      for (const alpha of Object.values(figures)) expect(alpha as number).toBeGreaterThan(0);
    expect(recipe.transforms).toEqual([{ name: 'smoothquant', options: { alpha: 'search', edges: 'norms' } }]);
    expect(recipe.rules[0].activation.scheme.dynamic).toBe(true);
  });
});

describe('q quantize --method llm-int8', () => {
  it('needs no text, writes 6.0, and q eval runs it on integers', async () => {
    const out = join(folder, 'llm');
    expect((await runCommand(['quantize', demo.model, out, '--method', 'llm-int8'])).code).toBe(0);
    expect(await readFile(join(out, 'config.json'), 'utf8')).toContain('"llm_int8_threshold": 6.0');
    const argv = ['eval', out, '--against', demo.model, '--text', demo.heldOut, '--windows', '4', '--length', '32'];
    const { code, out: json, err } = await runCommand([...argv, '--json']);
    expect(code).toBe(0);
    expect(err).toContain('run as int8 products');
    expect(err).toContain('outliers from 6 on in f32');
    expect(JSON.parse(json).kl).toBeLessThan(0.01);
  });
});

describe('options that make no sense', () => {
  it.each([
    [['--method', 'smoothquant', '--alpha', '2'], '--alpha 2: a number from 0 to 1'],
    [['--method', 'smoothquant', '--level', 'o4'], '--level o4'],
    [['--method', 'smoothquant', '--bits', '4'], 'leave --bits'],
    [['--method', 'llm-int8', '--group', '64'], 'leave --bits'],
    [['--method', 'llm-int8', '--threshold', '-1'], '--threshold -1'],
    [['--method', 'llm-int8', '--format', 'gptq'], 'GPTQ layout'],
    [['--method', 'smoothquant', '--format', 'bitsandbytes-int8'], 'bitsandbytes'],
    [['--method', 'llm-int8', '--format', 'compressed-tensors-int8'], 'scales, not absmax127'],
  ])('%j is refused before anything is written', async (argv, words) => {
    const { code, err } = await runCommand(['plan', demo.model, ...argv]);
    expect(code).toBe(1);
    expect(err).toContain(words);
  });

  it('smoothquant without text learns from that of the command, and says so', async () => {
    const out = join(folder, 'x');
    const how = ['--method', 'smoothquant', '--samples', '4', '--length', '32'];
    const { code, err } = await runCommand(['quantize', demo.model, out, ...how]);
    expect(code).toBe(0);
    expect(err).toContain('note: no --calib was given');
    const { calibration } = JSON.parse(await readFile(join(out, 'q-report.json'), 'utf8'));
    expect(calibration).toEqual({ name: 'default', samples: 4, length: 32 });
  });
});
