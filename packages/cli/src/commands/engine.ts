import { closest, createRandom, referenceKernels } from '@q/core';
import { bf16Absence } from '@q/tfjs';
import type { CommandContext } from '../command.js';
import { createCompute, type EngineName } from '../engine.js';
import { setUpTfjsNode } from '../engine-setup/setup-tfjs-node.js';
import { measureProducts, type ProductSpeed } from '../measure-engine.js';
import { formatTable } from '../units.js';
import { UsageError } from '../usage-error.js';
import { openWebgpuKernels } from '../webgpu-kernels.js';

/** The order in which `auto` tries them. */
const automaticOrder = ['node', 'wasm', 'cpu'] as const satisfies readonly EngineName[];

interface EngineRow {
  /** A value of `--engine`. */
  readonly choice: EngineName;
  readonly available: boolean;
  /** The engine's own name, or null. */
  readonly engine: string | null;
  /** Of matrix products in f32, or null. */
  readonly speed: ProductSpeed | null;
  /** Reasons why it is not available; its own notes. */
  readonly notes: readonly string[];
}

/** `q engine list`: every engine, whether it starts here or why not, and its speed. */
export async function engineListCommand(
  options: { readonly threads?: number; readonly json?: boolean },
  { terminal, signal }: CommandContext,
): Promise<void> {
  const { threads } = options;
  const rows: EngineRow[] = [];
  for (const choice of automaticOrder) {
    signal.throwIfAborted();
    rows.push(await tryEngine(choice, threads));
  }
  const webgpu = await tryWebgpu();
  const automatic = rows.find(({ available }) => available)?.choice;
  if (options.json) {
    terminal.printJson({ engines: rows, auto: automatic ?? null, kernels: { webgpu } });
    return;
  }
  terminal.print(
    formatTable(
      ['--engine', 'engine', 'GFLOP/s', 'product'],
      rows.map(({ choice, engine, speed }) => [
        choice === automatic ? `${choice} (auto)` : choice,
        engine ?? 'not available',
        speed?.gflops.toPrecision(3) ?? '',
        speed ? `${speed.size} x ${speed.size}` : '',
      ]),
    ),
  );
  terminal.print('');
  for (const { choice, notes } of rows) for (const note of notes) terminal.print(`${choice}: ${note}`);
  terminal.print(
    `--kernels webgpu: ${webgpu.available ? `${webgpu.gflops?.toPrecision(3)} GFLOP/s from host to host` : 'not available'}; ${webgpu.notes.join('; ')}`,
  );
  terminal.print('GFLOP/s: product of two f32 matrices, median of 7');
}

async function tryEngine(choice: EngineName, threads: number | undefined): Promise<EngineRow> {
  const compute = await createCompute({ engine: choice, threads });
  try {
    const engine = await compute.engine();
    try {
      const speed = measureProducts(engine, createRandom('engine list'));
      const notes = [...compute.notes, ...engine.notes.map(withoutPrefix).filter((note) => note !== 'asked for')];
      if (choice === 'node' && bf16Absence() === undefined)
        notes.push('--engine node-bf16 rounds the operands of products to bf16, and is faster on this processor');
      return { choice, available: true, engine: engine.name, speed, notes };
    } finally {
      await engine.dispose();
    }
  } catch (error) {
    const notes = [withoutPrefix((error as Error).message.replace(/^no engine: /, ''))];
    return { choice, available: false, engine: null, speed: null, notes };
  } finally {
    await compute.dispose();
  }
}

interface WebgpuRow {
  readonly available: boolean;
  /** Of a product of 512 x 512 matrices, or null. */
  readonly gflops: number | null;
  /** The description of the device, or the reason why there is none. */
  readonly notes: readonly string[];
}

/** The kernels of `--kernels webgpu`. */
async function tryWebgpu(): Promise<WebgpuRow> {
  const notes: string[] = [];
  try {
    const kernels = await openWebgpuKernels(referenceKernels, (note) => notes.push(note));
    const [size, random] = [512, createRandom('engine list')];
    const a = Float32Array.from({ length: size * size }, () => random.normal());
    const times: number[] = [];
    for (let i = 0; i < 4; i++) {
      const begun = performance.now();
      await kernels.matmul({ a, b: a, m: size, n: size, k: size });
      times.push(performance.now() - begun);
    }
    const available = kernels.name === 'webgpu';
    await kernels.dispose();
    return { available, gflops: available ? (2 * size ** 3) / (Math.min(...times) * 1e6) : null, notes };
  } catch (error) {
    return { available: false, gflops: null, notes: [(error as Error).message] };
  }
}

function withoutPrefix(note: string): string {
  return note.replace(/^(node|wasm|cpu): /, '');
}

/** Engines that can be set up, by their names on the command line. */
const setups = new Map([['tfjs-node', setUpTfjsNode]]);

/** `q engine setup NAME`: installs an engine that npm alone cannot install. */
export async function engineSetupCommand(
  name: string,
  options: { readonly force?: boolean; readonly json?: boolean },
  { terminal, signal }: CommandContext,
): Promise<void> {
  const setup = setups.get(name);
  if (!setup) {
    const meant = closest(name, [...setups.keys()]);
    throw new UsageError(
      `engine "${name}" cannot be set up${meant ? `: did you mean ${meant}?` : `: ${[...setups.keys()].join(', ')} can`}`,
    );
  }
  const { folder, changed, contents } = await setup({ force: options.force ?? false, note: terminal.note, signal });
  if (options.json) {
    terminal.printJson({ engine: name, folder, changed, ...contents });
    return;
  }
  terminal.print(`${name} ${changed ? 'is set up' : 'was ready'}: ${folder}`);
  terminal.print(`TensorFlow ${contents.tensorflow}, from ${contents.source}`);
  terminal.print('--engine node uses it, and so does --engine auto.');
}
