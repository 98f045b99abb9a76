/** What may have changed between an interrupted run and the same command again: each is put right, or refused by name. */
import { createHash } from 'node:crypto';
import { renameSync } from 'node:fs';
import { cp, mkdtemp, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type FileSystem, nodeFiles, observedFiles, type WriteOperation } from '@q/durable-files';
import { openFile, readHeader } from '@q/safetensors';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { demo } from './testing/demo.js';
import { runCommand } from './testing/run-command.js';

const flags = ['--group', '32', '--fit', 'minMax', '--refine-rounds', '0', '--threads', '1', '--engine', 'wasm'];
const text = ['--calib', demo.calibration, '--samples', '2', '--length', '16'];

let inputs: string;
let folder: string;
let model: string;
let out: string;
/** Sums of an undisturbed run's files, by name. */
let expected: ReadonlyMap<string, string>;
/** What the same command left when it died after two blocks. */
let interruptedRun: string;

const command = (...more: readonly string[]) => ['quantize', model, out, ...flags, ...text, '--no-eval', ...more];

async function contentOf(at: string): Promise<Map<string, string>> {
  const names = (await readdir(at)).filter((name) => !name.startsWith('q-report')).sort();
  const sum = async (name: string) =>
    createHash('sha256')
      .update(await readFile(join(at, name)))
      .digest('hex');
  return new Map(await Promise.all(names.map(async (name) => [name, await sum(name)] as const)));
}

beforeAll(async () => {
  inputs = await mkdtemp(join(tmpdir(), 'q-resumed-inputs-'));
  model = join(inputs, 'model');
  out = join(inputs, 'out');
  await cp(demo.model, model, { recursive: true });
  // A time that can be put back exactly.
  await utimes(join(model, 'model.safetensors'), 1_700_000_000, 1_700_000_000);
  const { code, err } = await runCommand(command());
  if (code !== 0) throw new Error(err);
  expected = await contentOf(out);
  // The journal has the identity, the engine, the copied tensors and two blocks.
  out = interruptedRun = join(inputs, 'interrupted');
  const died = await runCommand(command(), undefined, failing('ENOSPC', afterJournalLines(5)));
  if (died.code !== 1 || !died.err.includes('the same command goes on')) throw new Error(died.err);
}, 60_000);
afterAll(() => rm(inputs, { recursive: true, force: true }));
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-resumed-'));
  out = join(folder, 'out');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** A file system that fails with `code` at each operation from the first on that `from` names. */
function failing(code: string, from: (operation: WriteOperation) => boolean): FileSystem {
  let fails = false;
  return observedFiles(nodeFiles, (operation) => {
    fails ||= from(operation);
    if (fails && operation.kind !== 'remove') throw Object.assign(new Error(`${code}: ${operation.kind}`), { code });
  });
}

/** Counts the lines of the journal as they are synced. */
function afterJournalLines(lines: number): (operation: WriteOperation) => boolean {
  let synced = 0;
  return ({ kind, path }) => {
    if (synced >= lines) return true;
    if (kind === 'sync' && path.endsWith('q-journal.jsonl')) synced++;
    return false;
  };
}

const interrupt = () => cp(interruptedRun, out, { recursive: true });

async function goesOn(): Promise<void> {
  const { code, err } = await runCommand(command());
  expect(err).not.toContain('unexpected');
  expect(code).toBe(0);
  expect(await contentOf(out)).toEqual(expected);
}

/** The command is refused, with these words, and has changed nothing in the folder. */
async function isRefused(words: RegExp): Promise<void> {
  const before = await contentOf(out);
  const { code, err } = await runCommand(command());
  expect(err).toMatch(words);
  expect(err).not.toContain('unexpected');
  expect(code).toBe(1);
  expect(await contentOf(out)).toEqual(before);
}

/** Writes a file anew, with the time that it had. */
async function change(path: string, to: (bytes: Buffer) => void): Promise<void> {
  const { atime, mtime } = await stat(path);
  const bytes = await readFile(path);
  to(bytes);
  await writeFile(path, bytes);
  await utimes(path, atime, mtime);
}

describe('an interrupted run', { timeout: 60_000 }, () => {
  it('refuses a source whose bytes have changed under the same size and time', async () => {
    await interrupt();
    const path = join(model, 'model.safetensors');
    const flip = (bytes: Buffer) => {
      bytes[bytes.length - 4321] ^= 1;
    };
    await change(path, flip);
    await isRefused(/another recipe, model or calibration text/);
    await change(path, flip);
    await goesOn();
  });

  it('finds a finished block that was garbled, and names the tensor', async () => {
    await interrupt();
    const [name] = (await readdir(out)).filter((file) => file.includes('safetensors'));
    const path = join(out, name);
    const file = await openFile(path);
    const { tensors } = await readHeader(file);
    await file.close();
    const garbled = 'model.layers.0.mlp.up_proj.qweight';
    const { begin } = tensors.get(garbled) as { begin: number };
    const flip = (bytes: Buffer) => {
      const data = 8 + Number(bytes.readBigUInt64LE(0));
      // Whether positions count from the file or from the data: both are inside of the finished part.
      bytes[begin >= data ? begin : data + begin] ^= 1;
    };
    await change(path, flip);
    await isRefused(new RegExp(`${garbled.replaceAll('.', '\\.')}.*remove`, 's'));
    await change(path, flip);
    await goesOn();
  });

  it.each<[string, (lines: string[]) => string]>([
    ['NUL in a line', (lines) => lines.map((line, i) => (i === 2 ? `\0${line.slice(1)}` : line)).join('\n')],
    ['null for a line', (lines) => lines.map((line, i) => (i === 2 ? 'null' : line)).join('\n')],
    ['{} for a line', (lines) => lines.map((line, i) => (i === 2 ? '{}' : line)).join('\n')],
    ['{} for the first line', (lines) => lines.map((line, i) => (i === 0 ? '{}' : line)).join('\n')],
    ['NUL all over', (lines) => '\0'.repeat(lines.join('\n').length)],
    ['null alone', () => 'null\n'],
    ['{} alone', () => '{}\n'],
    ['nothing', () => ''],
  ])('with a damaged journal (%s) is refused with what to remove', async (_, damage) => {
    await interrupt();
    const path = join(out, 'q-journal.jsonl');
    await writeFile(path, damage((await readFile(path, 'utf8')).split('\n')));
    await isRefused(/q-journal\.jsonl: .*(remove|restore)/);
  });

  it('whose source has vanished waits for it', async () => {
    await interrupt();
    const [from, away] = [join(model, 'model.safetensors'), join(inputs, 'away.safetensors')];
    await rename(from, away);
    await isRefused(/model: (has|holds|there)|model\.safetensors/);
    await rename(away, from);
    await goesOn();
  });

  it('keeps what is finished when a source file vanishes while it works', async () => {
    const [from, away] = [join(model, 'tokenizer.json'), join(inputs, 'tokenizer.json')];
    let gone = false;
    const after = afterJournalLines(5);
    const files = observedFiles(nodeFiles, (operation) => {
      if (gone || !after(operation)) return;
      gone = true;
      renameSync(from, away);
    });
    const { code, err } = await runCommand(command(), undefined, files);
    await rename(away, from);
    expect(gone).toBe(true);
    expect(code).toBe(1);
    expect(err).toContain('tokenizer.json');
    expect(err).toContain(`Finished work is kept in ${out}`);
    await goesOn();
  });

  it.each(['EACCES', 'EROFS'])('keeps what is finished when writing is no longer permitted (%s)', async (code) => {
    const ended = await runCommand(command(), undefined, failing(code, afterJournalLines(5)));
    expect(ended.code).toBe(1);
    expect(ended.err).toContain(`writing is not permitted (${code}): check the folder's permissions`);
    expect(ended.err).toContain(`Finished work is kept in ${out}`);
    await goesOn();
  });
});

/** The demo model with other values in its last norm. */
async function withNorm(value: number): Promise<string> {
  const changed = join(folder, 'changed');
  await cp(demo.model, changed, { recursive: true });
  const path = join(changed, 'model.safetensors');
  const file = await openFile(path);
  const { tensors } = await readHeader(file);
  await file.close();
  const { begin, end, dtype } = tensors.get('model.norm.weight') as { begin: number; end: number; dtype: string };
  expect(dtype).toBe('BF16');
  await change(path, (bytes) => {
    const data = 8 + Number(bytes.readBigUInt64LE(0));
    const bits = new Uint32Array(Float32Array.of(value).buffer)[0] >>> 16;
    const base = begin >= data ? 0 : data;
    for (let at = begin; at < end; at += 2) bytes.writeUInt16LE(bits, base + at);
  });
  return changed;
}

describe('a model that cannot be used', { timeout: 60_000 }, () => {
  it('for NaN in a tensor that is only copied: found before the work, and no folder is left', async () => {
    const changed = await withNorm(Number.NaN);
    for (const method of ['rtn', 'gptq']) {
      const { code, err } = await runCommand([
        'quantize',
        changed,
        out,
        '--method',
        method,
        ...flags.slice(0, 2),
        ...text,
      ]);
      expect(code).toBe(1);
      expect(err).toContain('tensor model.norm.weight holds NaN or infinity');
      expect(err).toContain('repair the checkpoint first');
      // Progress of the quantization.
      expect(err).not.toMatch(/quantize .*modules/);
      expect(await readdir(folder)).toEqual(['changed']);
    }
  });

  it('for a forward pass that overflows: the evaluation says so, and the folder holds the whole model and a report', async () => {
    const changed = await withNorm(3e38);
    const argv = ['quantize', changed, out, '--method', 'rtn', '--group', '32', '--threads', '1', '--engine', 'wasm'];
    const evaluated = [...argv, '--eval-text', demo.heldOut, '--windows', '1', '--length', '16'];
    const { code, err } = await runCommand(evaluated);
    expect(code).toBe(1);
    expect(err).toMatch(/not finite|NaN|[Ii]nfinit/);
    expect(err).toContain('its report says that it could not be evaluated');
    const names = await readdir(out);
    expect(names).toEqual(expect.arrayContaining(['config.json', 'model.safetensors', 'q-report.json']));
    expect(names).not.toContain('q-journal.jsonl');
    const report = JSON.parse(await readFile(join(out, 'q-report.json'), 'utf8'));
    expect(report.evaluation).toBeUndefined();
    expect(report.notes.join('\n')).toContain('not evaluated: ');
    const before = await contentOf(out);
    const again = await runCommand(evaluated);
    expect(again.code).toBe(1);
    expect(again.err).toContain('its report says that it could not be evaluated');
    expect(await contentOf(out)).toEqual(before);
  });
});
