import { createRandom } from '@q/core';
import { closest } from '../closest.js';
import { type Backend, backends, createCompute } from '../engine.js';
import { setUpTfjsNode } from '../engine-setup/setup-tfjs-node.js';
import { measuredSize, measureProducts } from '../measure-engine.js';
import { wholeNumber } from '../recipe-options.js';
import type { Terminal } from '../terminal.js';
import { formatTable } from '../units.js';
import { UsageError } from '../usage-error.js';

interface EngineRow {
  /** What `--engine` takes. */
  readonly choice: Backend;
  readonly available: boolean;
  /** The engine's own name, or null. */
  readonly engine: string | null;
  /** Products of 1024 x 1024 in f32, or null. */
  readonly gflops: number | null;
  /** Why it is not available; what it says about itself. */
  readonly notes: readonly string[];
}

/** `q engine list`: every engine, whether it starts here or why not, and how fast it multiplies. */
export async function engineListCommand(
  options: { readonly threads?: string; readonly json?: boolean },
  terminal: Terminal,
  signal: AbortSignal,
): Promise<void> {
  const threads = wholeNumber('--threads', options.threads, 1);
  const rows: EngineRow[] = [];
  for (const choice of backends.filter((backend) => backend !== 'auto')) {
    signal.throwIfAborted();
    rows.push(await tryEngine(choice, threads));
  }
  // The order in which `auto` tries them.
  const automatic = (['node', 'wasm', 'cpu'] as const).find((choice) =>
    rows.some((row) => row.choice === choice && row.available),
  );
  if (options.json) {
    terminal.printJson({ engines: rows, auto: automatic ?? null, product: measuredSize });
    return;
  }
  terminal.print(
    formatTable(
      ['--engine', 'engine', 'GFLOP/s'],
      rows.map(({ choice, engine, gflops }) => [
        choice === automatic ? `${choice} (auto)` : choice,
        engine ?? 'not available',
        gflops?.toPrecision(3) ?? '',
      ]),
    ),
  );
  terminal.print('');
  for (const { choice, notes } of rows) for (const note of notes) terminal.print(`${choice}: ${note}`);
  terminal.print(`GFLOP/s: product of ${measuredSize} x ${measuredSize} matrices in f32, median of up to 7`);
}

async function tryEngine(choice: Backend, threads: number | undefined): Promise<EngineRow> {
  const compute = await createCompute({ engine: choice, threads });
  try {
    const engine = await compute.engine();
    try {
      const gflops = measureProducts(engine, createRandom('engine list'));
      const notes = [...compute.notes, ...engine.notes.map(withoutPrefix).filter((note) => note !== 'asked for')];
      return { choice, available: true, engine: engine.name, gflops, notes };
    } finally {
      await engine.dispose();
    }
  } catch (error) {
    const notes = [withoutPrefix((error as Error).message.replace(/^no engine: /, ''))];
    return { choice, available: false, engine: null, gflops: null, notes };
  } finally {
    await compute.dispose();
  }
}

function withoutPrefix(note: string): string {
  return note.replace(/^(node|wasm|cpu): /, '');
}

/** Engines that can be set up, by the name that is given on the command line. */
const setups = { 'tfjs-node': setUpTfjsNode } as const;

/** `q engine setup NAME`: gets an engine that npm alone does not install. */
export async function engineSetupCommand(
  name: string,
  options: { readonly force?: boolean; readonly json?: boolean },
  terminal: Terminal,
  signal: AbortSignal,
): Promise<void> {
  const setup = Object.hasOwn(setups, name) ? setups[name as keyof typeof setups] : undefined;
  if (!setup) {
    const meant = closest(name, Object.keys(setups));
    throw new UsageError(
      `engine "${name}" cannot be set up${meant ? `: did you mean ${meant}?` : `: ${Object.keys(setups).join(', ')} can`}`,
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
