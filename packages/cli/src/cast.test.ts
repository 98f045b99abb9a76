import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tensor } from '@q/core';
import { dyingFiles, nodeFiles, recordingFiles } from '@q/durable-files';
import { readSafetensorsFile, writeSafetensorsFile } from '@q/safetensors';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { demo } from './testing/demo.js';
import { runCommand } from './testing/run-command.js';

let folder: string;
let model: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-cast-'));
  model = join(folder, 'model');
  await mkdir(model);
  await writeFile(join(model, 'config.json'), '{"model_type": "unheard-of", "torch_dtype": "float32"}');
  await writeSafetensorsFile(
    join(model, 'model.safetensors'),
    new Map([
      ['fine', tensor('f32', [2], Float32Array.of(1, 0.1))],
      ['large', tensor('f32', [3], Float32Array.of(1, 70000, -80000))],
    ]),
  );
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe('q cast', () => {
  it('refuses what the dtype does not hold, by name, and writes nothing', async () => {
    const out = join(folder, 'refused');
    const { code, out: printed } = await runCommand(['cast', model, out, '--dtype', 'f16', '--json']);
    expect(code).toBe(1);
    expect(JSON.parse(printed).error).toMatch(
      /tensor large \(F32\): 2 values become infinite in f16, the largest 8\.000e\+4: nothing was written: give --outside keep/,
    );
    expect(await readdir(folder)).toEqual(['model']);
  });

  it('casts values that become zero next to much larger ones, and says so', async () => {
    const [source, out] = [join(folder, 'with-tiny'), join(folder, 'tiny-out')];
    await mkdir(source);
    await writeFile(join(source, 'config.json'), '{"model_type": "unheard-of"}');
    const values = tensor('f32', [2], Float32Array.of(1, 1e-9));
    await writeSafetensorsFile(join(source, 'model.safetensors'), new Map([['mixed', values]]));
    const { code, out: printed } = await runCommand(['cast', source, out, '--dtype', 'f16', '--json']);
    expect(code).toBe(0);
    expect(JSON.parse(printed).notes).toContain(
      'tensor mixed (F32): 1 values become zero in f16, the largest 1.000e-9, less than the rounding error of its largest value',
    );
    await Promise.all([source, out].map((path) => rm(path, { recursive: true })));
  });

  it('keeps such a tensor where that is wanted, and says so', async () => {
    const out = join(folder, 'kept');
    const { code, out: printed } = await runCommand([
      ...['cast', model, out, '--dtype', 'f16', '--outside', 'keep', '--json'],
    ]);
    expect(code).toBe(0);
    const { cast, tensors, notes } = JSON.parse(printed);
    expect([cast, tensors]).toEqual([1, 2]);
    expect(notes[0]).toMatch(/tensor large .* it stays in F32/);
    const written = await readSafetensorsFile(join(out, 'model.safetensors'));
    expect(written.get('fine')).toMatchObject({ dtype: 'f16', data: Uint16Array.of(0x3c00, 0x2e66) });
    expect(written.get('large')).toMatchObject({ dtype: 'f32', data: Float32Array.of(1, 70000, -80000) });
    expect(JSON.parse(await readFile(join(out, 'config.json'), 'utf8')).torch_dtype).toBe('float16');
    const again = await runCommand(['cast', model, out, '--dtype', 'bf16']);
    expect([again.code, again.err]).toEqual([1, expect.stringMatching(/exists and is not empty/)]);
  });

  it('refuses a quantized folder', async () => {
    const quantized = join(folder, 'quantized');
    const made = await runCommand(['quantize', demo.model, quantized, '--method', 'rtn', '--no-eval']);
    expect(made.code).toBe(0);
    const { code, err } = await runCommand(['cast', quantized, join(folder, 'no'), '--dtype', 'f32']);
    expect(code).toBe(1);
    expect(err).toMatch(/is quantized \(.*cast the original model/);
  });

  it('interrupted, leaves nothing and says so', async () => {
    const controller = new AbortController();
    controller.abort();
    const out = join(folder, 'interrupted');
    const { code, err } = await runCommand(['cast', model, out, '--dtype', 'bf16'], controller.signal);
    expect([code, err]).toEqual([130, 'Interrupted. Nothing was left behind.\n']);
    expect(await readdir(folder)).not.toContain('interrupted');
  });

  it('starts again after a death at any write, and has the same bytes', async () => {
    const argv = (out: string) => ['cast', model, join(folder, out), '--dtype', 'bf16'];
    const { files, operations } = recordingFiles(nodeFiles);
    expect((await runCommand(argv('whole'), undefined, files)).code).toBe(0);
    const read = (out: string) => readFile(join(folder, out, 'model.safetensors'));
    const whole = await read('whole');
    for (let dies = 0; dies < operations.length; dies++) {
      await runCommand(argv('dying'), undefined, dyingFiles(nodeFiles, dies));
      const { code, err } = await runCommand(argv('dying'));
      // The lock is released after the folder is whole.
      if (code !== 0) expect(err).toMatch(/exists and is not empty/);
      expect((await read('dying')).equals(whole)).toBe(true);
      expect((await readdir(join(folder, 'dying'))).filter((name) => !name.startsWith('q-lock'))).toEqual([
        'config.json',
        'model.safetensors',
      ]);
      await rm(join(folder, 'dying'), { recursive: true });
    }
  });
});
