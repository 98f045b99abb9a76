import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createShardWriter, openShards, planShards } from '@q/safetensors';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openModel } from './open-model.js';
import { builtin } from './registry.js';
import { runCommand } from './testing/run-command.js';
import { tinyGptOss, writeTinyModel } from './testing/tiny-mixture.js';

const config = tinyGptOss;
const experts = 'model.layers.0.mlp.experts';

let folder: string;
let model: string;
let text: string[];
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-gpt-oss-'));
  model = join(folder, 'model');
  await writeTinyModel(model, config);
  text = ['--calib', join(model, 'ids.u16'), '--length', '16', '--samples', '40', '--no-eval', '--json'];
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const divergence = async (name: string): Promise<number> => {
  const { code, out, err } = await runCommand([
    ...['eval', join(folder, name), '--against', model],
    ...['--text', join(model, 'ids.u16'), '--length', '16', '--windows', '16', '--json'],
  ]);
  expect(code, err).toBe(0);
  return JSON.parse(out).kl;
};

describe('gpt-oss, whose experts are in one tensor', () => {
  it('is written as it was published: MXFP4 experts in stacks, everything else as it is', async () => {
    const { code, out, err } = await runCommand([
      ...['quantize', model, join(folder, 'rtn'), '--method', 'rtn', '--layout', 'mxfp4', '--no-eval', '--json'],
    ]);
    expect(code, err).toBe(0);
    const { layers, notes } = JSON.parse(out);
    expect(layers.length).toBe(2 * 2 * 4);
    expect(notes.join('\n')).toMatch(/q_proj and 7 more are kept: the mxfp4 layout holds only experts/);
    const shards = await openShards(join(folder, 'rtn'));
    const shape = (name: string) => shards.entries.get(`${experts}.${name}`)?.shape;
    expect(shape('gate_up_proj_blocks')).toEqual([4, 64, 2, 16]);
    expect(shape('gate_up_proj_scales')).toEqual([4, 64, 2]);
    expect(shape('gate_up_proj_bias')).toEqual([4, 64]);
    expect(shape('down_proj_blocks')).toEqual([4, 64, 1, 16]);
    expect([...shards.entries.keys()].filter((name) => /experts\.\d/.test(name))).toEqual([]);
    await shards.close();
    expect(await divergence('rtn')).toBeLessThan(0.5);
  });

  it.each([
    ['gptq into MXFP4', ['--layout', 'mxfp4'], 16, 0.4],
    ['gptq at 8 bits', ['--layout', 'plain', '--bits', '8', '--group', '16'], 24, 0.01],
    ['awq', ['--layout', 'plain', '--method', 'awq', '--group', '16'], 24, 0.4],
  ] as const)('%s: each expert is calibrated with its own tokens', async (name, options, linears, limit) => {
    const { code, out, err } = await runCommand(['quantize', model, join(folder, name), ...text, ...options]);
    expect(code, err).toBe(0);
    const { layers, experts: coverage } = JSON.parse(out);
    expect(layers.length).toBe(linears);
    // AWQ rounds with scales that it finds once for all experts of a layer.
    if (!options.includes('awq' as never))
      expect(coverage.filter(({ tokens }: { tokens: number }) => tokens > 0).length).toBeGreaterThan(4);
    expect(await divergence(name)).toBeLessThan(limit);
  });

  it('is refused by layouts whose readers want a tensor for each expert, in words', async () => {
    const { code, err } = await runCommand(['quantize', model, join(folder, 'no'), ...text, '--group', '16']);
    expect(code).not.toBe(0);
    expect(err).toContain('which the layouts mxfp4 (transformers, vLLM) and plain hold. Use --layout mxfp4 or plain');
  });

  it('is a source in MXFP4: read as values, quantized again when that is allowed', async () => {
    const source = join(folder, 'rtn');
    const again = (...options: string[]) =>
      runCommand([
        ...['quantize', source, join(folder, 'again'), '--method', 'rtn', '--layout', 'plain', '--weights', 'int8 g16'],
        ...['--no-eval', '--json', ...options],
      ]);
    const refused = await again();
    expect(refused.code).not.toBe(0);
    expect(refused.err).toContain('already quantized (mxfp4)');
    const { code, out, err } = await again('--requantize');
    expect(code, err).toBe(0);
    expect(JSON.parse(out).notes.join('\n')).toContain('the source is quantized as mxfp4');
    const [one, other] = await Promise.all([openModel(source, builtin), openModel(join(folder, 'again'), builtin)]);
    const name = `${experts}.1.gate_up_proj.weight`;
    const [before, after] = [(await one.weight(name)).data, (await other.weight(name)).data];
    expect(Math.max(...before.map((x, i) => Math.abs(x - after[i])))).toBeLessThan(0.01);
    await one.close();
    await other.close();
  });

  it('keeps its function when it is rotated, and when norms and values are scaled', async () => {
    const keeping = ['--method', 'rtn', '--keep', '*', '--layout', 'plain', '--no-eval', '--json'];
    const { code, err } = await runCommand(['quantize', model, join(folder, 'rotated'), '--rotate', ...keeping]);
    expect(code, err).toBe(0);
    expect(await divergence('rotated')).toBeLessThan(1e-9);
    const scaling = ['--transforms', 'awq', ...text, ...keeping];
    const scaled = await runCommand(['quantize', model, join(folder, 'scaled'), ...scaling]);
    expect(scaled.code, scaled.err).toBe(0);
    expect(await divergence('scaled')).toBeLessThan(1e-9);
  });

  it('keeps its stacks when it is cast', async () => {
    const out = join(folder, 'bf16');
    const { code, err } = await runCommand(['cast', model, out, '--dtype', 'bf16']);
    expect(code, err).toBe(0);
    const shards = await openShards(out);
    expect(shards.entries.get(`${experts}.down_proj`)).toMatchObject({ dtype: 'BF16', shape: [4, 32, 64] });
    await shards.close();
    const [one, other] = await Promise.all([openModel(model, builtin), openModel(out, builtin)]);
    const name = `${experts}.3.down_proj.weight`;
    const [before, after] = [(await one.weight(name)).data, (await other.weight(name)).data];
    expect(before.every((x, i) => Math.abs(x - after[i]) <= Math.abs(x) / 256)).toBe(true);
    await one.close();
    await other.close();
  });
});

it('stacked experts of other models give the same bytes as a tensor for each', async () => {
  const apart = join(folder, 'apart');
  const moe = {
    ...config,
    model_type: 'qwen3_moe',
    num_experts: 4,
    moe_intermediate_size: 32,
  };
  await writeTinyModel(apart, moe);
  const source = await openModel(apart, builtin);
  const together = join(folder, 'together');
  await writeTinyModel(together, moe);
  await rm(join(together, 'model.safetensors'));
  const names = [...source.tensors.keys()];
  const stackOf = (name: string) =>
    name
      .replace(/\.experts\.\d+\.(gate|up)_proj\.weight$/, '.experts.gate_up_proj')
      .replace(/\.experts\.\d+\.down_proj\.weight$/, '.experts.down_proj');
  const order = (name: string) => name.replace('.gate_proj', '.0').replace('.up_proj', '.1');
  const stacks = new Map<string, string[]>();
  for (const name of names.toSorted((a, b) => (order(a) < order(b) ? -1 : 1)))
    stacks.set(stackOf(name), [...(stacks.get(stackOf(name)) ?? []), name]);
  const shapes: Record<string, number[]> = { gate_up_proj: [4, 64, 64], down_proj: [4, 64, 32] };
  const writer = await createShardWriter(
    together,
    planShards(
      [...stacks].map(([name, parts]) => ({
        name,
        dtype: 'F32',
        shape: shapes[name.split('.').at(-1) as string] ?? source.tensors.get(parts[0])!.shape,
      })),
    ),
  );
  for (const [name, parts] of stacks)
    await writer.writeBytes(name, Buffer.concat(await Promise.all(parts.map((part) => source.readBytes(part)))));
  await writer.finish();
  await source.close();
  await writeFile(join(together, 'config.json'), await readFile(join(apart, 'config.json')));
  const bytes = async (path: string) => {
    const out = `${path}-q`;
    const { code, err } = await runCommand([
      ...['quantize', path, out, '--method', 'rtn', '--group', '16', '--no-eval', '--json'],
    ]);
    expect(code, err).toBe(0);
    return readFile(join(out, 'model.safetensors'));
  };
  expect(Buffer.compare(await bytes(together), await bytes(apart))).toBe(0);
});
