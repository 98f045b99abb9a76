import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { demo } from './testing/demo.js';
import { runCommand } from './testing/run-command.js';
import { writeTinyEncoder } from './testing/tiny-encoder.js';

let folder: string;
let out: string;
const compute = ['--engine', 'wasm', '--threads', '1'];
const calibration = ['--calib', demo.calibration, '--samples', '4', '--length', '64', '--no-eval', ...compute];
const succeed = async (...argv: readonly string[]) => {
  const { code, out: printed, err } = await runCommand([...argv, '--json']);
  expect(err.split('\n').filter((line) => line.startsWith('error'))).toEqual([]);
  expect(code).toBe(0);
  return JSON.parse(printed);
};
const fail = async (...argv: readonly string[]) => {
  const { code, err } = await runCommand(argv);
  expect(code).not.toBe(0);
  return err;
};
const isCacheScale = ({ name }: { readonly name: string }) => /\.[kv]_scale$/.test(name);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-kv-cache-'));
  out = join(folder, 'out');
  const recipe = join(folder, 'recipe.json');
  await writeFile(recipe, JSON.stringify({ method: 'rtn', layout: 'fp8', kvCache: 'fp8' }));
  await succeed('quantize', demo.model, out, '--recipe', recipe, ...calibration);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe('q quantize --kv-cache', () => {
  it('writes the scales that it reads again in every command', async () => {
    const { quantization_config: settings } = JSON.parse(await readFile(join(out, 'config.json'), 'utf8'));
    expect(settings.kv_cache_scheme).toMatchObject({ num_bits: 8, type: 'float', strategy: 'tensor' });
    const { tensors, layout } = await succeed('inspect', out);
    expect(layout).toBe('fp8');
    expect(tensors.filter(isCacheScale).length).toBe(8);
    const score = (...more: readonly string[]) =>
      succeed(
        ...['eval', out, '--text', demo.heldOut, '--length', '128', '--windows', '2', '--against', demo.model],
        ...compute,
        ...more,
      );
    const [plain, cached] = [await score(), await score('--cache', 'static')];
    // One scale for all keys costs a little, and far less than an error of the scale would.
    expect(cached.perplexity).not.toBe(plain.perplexity);
    expect(Math.abs(cached.perplexity / plain.perplexity - 1)).toBeLessThan(0.01);
    // A byte for each key and value of 4 layers with 2 heads of 32 channels.
    expect(cached.cacheBytes).toBe(128 * 4 * 2 * 2 * 32);
    const text = ['generate', out, '--prompt', 'The', '--tokens', '8', '--temperature', '0', ...compute];
    const written = await succeed(...text, '--cache', 'static');
    expect(written.ids.length).toBe(8);
  });

  it('drops the scales when the folder is quantized again: they belong to other weights', async () => {
    const again = join(folder, 'again');
    const more = ['--method', 'rtn', '--layout', 'gptq', '--group', '32', '--requantize', '--no-eval', ...compute];
    await succeed('quantize', out, again, ...more);
    expect((await succeed('inspect', again)).tensors.filter(isCacheScale)).toEqual([]);
  });

  it('says in the plan what is added, and what vLLM does with it', async () => {
    const plan = (format: string) =>
      succeed('plan', demo.model, '--method', 'rtn', '--layout', 'fp8', '--kv-cache', format);
    const { tensors, notes, calibrated, bytesAfter } = await plan('fp8');
    const added = tensors.filter(isCacheScale);
    expect(added[0]).toMatchObject({ action: 'add', dtype: 'BF16', shape: [1], bytesBefore: 0, bytesAfter: 2 });
    expect(calibrated).toBe(true);
    expect(bytesAfter).toBe(tensors.reduce((sum: number, row: { bytesAfter: number }) => sum + row.bytesAfter, 0));
    expect(notes.join()).toMatch(/vLLM reads the scales of the cache/);
    expect((await plan('int8')).notes.join()).toMatch(/vLLM has no int8 cache with these scales.*--kv-cache fp8/);
  });

  it('is refused by name where nothing reads the scales', async () => {
    const refused = (...more: readonly string[]) => fail('quantize', demo.model, join(folder, 'refused'), ...more);
    expect(await refused('--kv-cache', 'fp8')).toMatch(
      /--kv-cache fp8: the gptq layout stores no scales of a cache: use --layout .*compressed-tensors or fp8/,
    );
    expect(await refused('--layout', 'fp8', '--kv-cache', 'int4')).toMatch(/--kv-cache int4: is not known/);
    expect(
      await refused('--method', 'qaft', '--layout', 'compressed-tensors', '--group', '32', '--kv-cache', 'fp8'),
    ).toMatch(/qaft changes keys and values after they were calibrated/);
    const encoder = join(folder, 'encoder');
    await writeTinyEncoder(encoder);
    expect(await fail('plan', encoder, '--layout', 'fp8', '--kv-cache', 'fp8')).toMatch(
      /encoder, which gives hidden states alone, so nothing keeps a cache/,
    );
    expect(await fail('convert', demo.model, join(folder, 'x.gguf'), '--to', 'gguf', '--kv-cache', 'fp8')).toMatch(
      /--kv-cache/,
    );
    expect(await fail('generate', demo.model, '--prompt', 'The', '--cache', 'static')).toMatch(
      /has no static scales of a cache: quantize the model with --kv-cache/,
    );
  });
});
