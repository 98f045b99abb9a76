import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { demo } from './testing/demo.js';
import { runCommand } from './testing/run-command.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-llm-qat-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const small = ['--bits', '3', '--group', '-1', '--samples', '4', '--length', '16', '--engine', 'wasm'];

describe('q quantize without text', () => {
  it('llm-qat writes its own text and trains on it; the report says so', async () => {
    const out = join(folder, 'out');
    const { code, out: printed } = await runCommand([
      ...['quantize', demo.model, out, '--method', 'llm-qat', '--epochs', '1', '--batch', '2', ...small],
      ...['--input-bits', '8', '--cache-bits', '4', '--eval-text', demo.heldOut, '--windows', '2', '--json'],
    ]);
    expect(code).toBe(0);
    const report = JSON.parse(printed);
    expect(report.calibration).toEqual({ name: 'written by the model', samples: 4, length: 16 });
    expect(report.layers[0].method).toBe('llm-qat');
    expect(report.recipe.tuner.options).toMatchObject({ activations: {}, cache: {} });
    expect(report.evaluation.after.kl).toBeLessThan(0.1);
    expect((await readdir(out)).filter((name) => /^q-.*jsonl|q-training/.test(name))).toEqual([]);
  });

  it('says what is wrong', async () => {
    const out = join(folder, 'out');
    const fail = async (...argv: string[]) => {
      const { code, err } = await runCommand(['quantize', demo.model, out, '--method', 'llm-qat', ...argv]);
      expect(code).toBe(1);
      return err;
    };
    expect(await fail('--cache-bits', '12')).toMatch(/--cache-bits 12: a whole number from 2 to 8/);
    expect(await fail('--length', '500')).toMatch(/500 is longer than the model's 256 positions/);
    expect(await fail('--memory', '100')).toMatch(/not even a batch of 1 fits/);
    expect(await fail('--budget', '3')).toMatch(/--calib FILE is needed/);
    await expect(readdir(out)).rejects.toThrow();
  });
});
