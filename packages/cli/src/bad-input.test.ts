import { access, cp, mkdtemp, readdir, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeBf16, encodeBf16, type Tensor, tensor } from '@q/core';
import { createShardWriter, openShards, planShards } from '@q/safetensors';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { demo } from './testing/demo.js';
import { runCommand } from './testing/run-command.js';

let folder: string;
let model: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-bad-'));
  model = join(folder, 'model');
  await cp(demo.model, model, { recursive: true });
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** The command fails with exit code 1 and one line that says why; it writes nothing to standard output and leaves no output folder. */
async function fails(argv: readonly string[], message: RegExp): Promise<void> {
  const out = join(folder, 'out');
  const { code, out: printed, err } = await runCommand(argv.map((word) => (word === 'OUT' ? out : word)));
  expect(err).toMatch(message);
  expect(err).not.toMatch(/\n\s+at .*\(/);
  expect(code).toBe(1);
  expect(printed).toBe('');
  await expect(access(out)).rejects.toThrow();
}

const quantize = ['quantize'];
const rtn = ['--method', 'rtn', '--group', '32'];
const calibration = ['--calib', demo.calibration, '--samples', '4', '--length', '64'];

async function editConfig(change: (config: Record<string, unknown>) => void): Promise<void> {
  const file = join(model, 'config.json');
  const config = JSON.parse(await readFile(file, 'utf8'));
  change(config);
  await writeFile(file, JSON.stringify(config));
}

/** Writes the weights again with some tensors changed or left out. */
async function editTensors(change: (name: string, read: Tensor) => Tensor | undefined): Promise<void> {
  const reader = await openShards(model);
  const tensors = new Map<string, Tensor>();
  for (const name of reader.entries.keys()) {
    const changed = change(name, await reader.read(name));
    if (changed) tensors.set(name, changed);
  }
  await reader.close();
  const writer = await createShardWriter(
    model,
    planShards([...tensors].map(([name, { shape }]) => ({ name, dtype: 'BF16', shape }))),
  );
  for (const [name, value] of tensors) await writer.write(name, value);
  await writer.finish();
}

describe('a model folder', () => {
  it('whose heads have no pairs of values to rotate', async () => {
    await editConfig((config) => {
      config.head_dim = 15;
    });
    const message = /model: config\.json: "head_dim" is 15: rotary positions need an even size/;
    await fails(['plan', model, ...rtn], message);
    await fails(['convert', model, join(folder, 'out.gguf'), '--to', 'gguf', '--type', 'q4_k_m'], message);
    await expect(access(join(folder, 'out.gguf'))).rejects.toThrow();
  });

  it('that does not exist or has no config', async () => {
    await fails([...quantize, join(folder, 'absent'), 'OUT', ...rtn], /absent: is not a folder/);
    await rm(join(model, 'config.json'));
    await fails([...quantize, model, 'OUT', ...rtn], /config\.json: cannot be read/);
    await writeFile(join(model, 'config.json'), '{');
    await fails([...quantize, model, 'OUT', ...rtn], /config\.json: is not valid JSON/);
  });

  it('with truncated weights', async () => {
    await truncate(join(model, 'model.safetensors'), 100_000);
    await fails(
      [...quantize, model, 'OUT', ...rtn],
      /model\.safetensors: the tensors need \d+ bytes, the file has 100000: it is truncated/,
    );
  });

  it('with a header that lies', async () => {
    const bytes = await readFile(join(model, 'model.safetensors'));
    const at = bytes.indexOf('"shape":[768,128]');
    bytes.write('"shape":[768,129]', at);
    await writeFile(join(model, 'model.safetensors'), bytes);
    await fails(
      [...quantize, model, 'OUT', ...rtn],
      /tensor "model\.embed_tokens\.weight": shape \[768,129\] of BF16 needs 198144 bytes/,
    );
  });

  it('with a shard missing or outside', async () => {
    // With model.safetensors there the index would not count.
    await rename(join(model, 'model.safetensors'), join(model, 'model-00002-of-00002.safetensors'));
    await writeFile(
      join(model, 'model.safetensors.index.json'),
      JSON.stringify({ weight_map: { a: 'model-00001-of-00002.safetensors' } }),
    );
    await fails([...quantize, model, 'OUT', ...rtn], /model-00001-of-00002\.safetensors does not exist/);
    await writeFile(
      join(model, 'model.safetensors.index.json'),
      JSON.stringify({ weight_map: { a: '../model.safetensors' } }),
    );
    await fails([...quantize, model, 'OUT', ...rtn], /outside of the folder/);
  });

  it('with a tensor absent or of a wrong shape', async () => {
    await editTensors((name, read) => (name === 'model.norm.weight' ? undefined : read));
    await fails([...quantize, model, 'OUT', ...rtn], /tensor model\.norm\.weight of shape \[128\] is absent/);
    await cp(demo.model, model, { recursive: true });
    await editConfig((config) => {
      config.intermediate_size = 360;
    });
    await fails(
      [...quantize, model, 'OUT', ...rtn],
      /mlp\.(gate|up|down)_proj\.weight in model\.safetensors has shape \[\d+,\d+\], config\.json asks for/,
    );
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY])('with %d in a weight: nothing half-written stays', async (bad) => {
    await editTensors((name, read) => {
      if (name !== 'model.layers.2.mlp.up_proj.weight') return read;
      const values = decodeBf16(read.data as Uint16Array);
      values[77] = bad;
      return tensor('bf16', read.shape, encodeBf16(values));
    });
    await fails(
      [...quantize, model, 'OUT', ...rtn],
      new RegExp(`tensor model\\.layers\\.2\\.mlp\\.up_proj\\.weight holds ${bad} at element 77`),
    );
    await fails([...quantize, model, 'OUT', '--group', '32', ...calibration], /holds (NaN|Infinity) at element 77/);
  });

  it('of an unknown architecture: the known ones are listed, and data-free methods work', async () => {
    await editConfig((config) => {
      config.model_type = 'quux';
    });
    await fails([...quantize, model, 'OUT', '--group', '32', ...calibration], /quux.*llama.*gpt2/s);
    // The group is too wide as well, but no group would help.
    await fails([...quantize, model, 'OUT', '--group', '4096', ...calibration], /quux.*llama.*gpt2/s);
    const { code, err } = await runCommand([...quantize, model, join(folder, 'out'), ...rtn]);
    expect(err).toContain('is taken as a linear');
    expect(code).toBe(0);
  });

  it('that is quantized already', async () => {
    const first = join(folder, 'first');
    await runCommand([...quantize, model, first, ...rtn]);
    await fails([...quantize, first, 'OUT', ...rtn], /already quantized \(gptq\)/);
  });
});

describe('options', () => {
  it.each<[string[], RegExp]>([
    [['--group', '4096'], /groupSize 4096 is larger than its 128 input features/],
    [['--group', '0'], /--group 0: a group has at least 1 column/],
    [['--group', 'x'], /--group x: a whole number/],
    [['--bits', '9'], /--bits 9: a whole number from 2 to 8/],
    [['--bits', '5'], /the GPTQ layout stores integers of 2, 3, 4, 8 bits, not uint5/],
    [['--method', 'gtpq'], /--method gtpq: is not known; did you mean gptq\?/],
    [['--format', 'ggml'], /--format ggml: is not known/],
    [['--sym', '--asym'], /--sym and --asym exclude each other/],
    [['--damping', '2'], /--damping 2: a number between 0 and 1/],
    [['--format-version', '1'], /version 1 of the GPTQ layout cannot express zero point 0/],
    [['--engine', 'cuda'], /--engine cuda: is not known \(auto, wasm, cpu, node, node-bf16\)/],
    ...['node', 'node-bf16'].map((engine): [string[], RegExp] => [
      ['--engine', engine, '--queue', 'redis://127.0.0.1:1', '--window-shards', '2'],
      new RegExp(`--window-shards with --queue and --engine ${engine}: the bits of this engine depend`),
    ]),
    [['--keep', '*'], /no linear .* matches a rule/],
    [['--length', '5000'], /--length 5000 is longer than the model's 256 positions/],
  ])('%j', async (options, message) => {
    await fails([...quantize, demo.model, 'OUT', ...options], message);
  });

  it('that do not exist are refused with a suggestion', async () => {
    await fails(
      [...quantize, demo.model, 'OUT', '--bit', '4'],
      /unknown option '--bit'[\s\S]*Did you mean one of --bits/,
    );
    await fails(['quantise', demo.model], /unknown command 'quantise'[\s\S]*Did you mean quantize/);
    await fails(['plan'], /missing required argument 'model'/);
  });
});

describe('--json', () => {
  it.each<[string[], RegExp]>([
    [['plan', demo.model, '--group', '4096'], /groupSize 4096/],
    [['quantize', demo.model, 'OUT', '--calib', 'absent.txt'], /absent\.txt: the text cannot be read/],
    [['eval', join('absent', 'model'), '--text', demo.heldOut], /absent.model: is not a folder/],
    [['inspect', 'absent'], /absent: does not exist/],
    [['inspect', demo.model, '--jsn'], /unknown option/],
  ])('%j leaves one object on standard output when it fails', async (argv, message) => {
    const { code, out, err } = await runCommand([...argv, '--json']);
    expect(code).toBe(1);
    expect(Object.keys(JSON.parse(out))).toEqual(['error']);
    expect(JSON.parse(out).error).toMatch(message);
    expect(err).toMatch(message);
  });
});

describe('a recipe file', () => {
  it.each<[string, string, RegExp]>([
    ['recipe.yaml', 'metod: gptq', /unknown key "metod"; did you mean method\? Allowed are/],
    ['recipe.json', '{"rules":[{"match":"*","bitz":4}]}', /rules\.0: unknown key "bitz"; did you mean bits/],
    ['recipe.json', '{"bits":"four"}', /recipe\.json: bits: .*expected/],
    ['recipe.json', '{', /is not valid JSON/],
    ['recipe.yaml', 'a: [', /is not valid YAML/],
  ])('%s %j', async (name, text, message) => {
    await writeFile(join(folder, name), text);
    await fails(['plan', demo.model, '--recipe', join(folder, name)], message);
  });

  it('that gives fused linears different schemes', async () => {
    await writeFile(join(folder, 'r.yaml'), 'group: 32\nrules:\n  - match: "*.q_proj"\n    bits: 8\n');
    await fails(
      ['plan', demo.model, '--recipe', join(folder, 'r.yaml')],
      /are fused by runtimes and must share one scheme/,
    );
  });
});

describe('calibration text', () => {
  it.each<[string, string, RegExp]>([
    ['empty.txt', ' \n<|endoftext|>\n', /empty\.txt: is empty/],
    [
      'short.txt',
      'Anna lived near the mill.',
      /short\.txt is too short: it has \d+ tokens, 256 are needed for 4 windows of 64/,
    ],
    ['odd.u16', 'abc', /odd\.u16 has 3 bytes/],
    ['bad.jsonl', '{"text":1}', /bad\.jsonl, line 1: has no string "text"/],
  ])('%s', async (name, text, message) => {
    await writeFile(join(folder, name), text);
    await fails(
      [
        ...quantize,
        demo.model,
        'OUT',
        '--group',
        '32',
        '--calib',
        join(folder, name),
        '--samples',
        '4',
        '--length',
        '64',
      ],
      message,
    );
  });

  it('that is absent, of other tokens, or longer than the model', async () => {
    await fails(
      [...quantize, demo.model, 'OUT', '--group', '32', '--calib', join(folder, 'no.txt')],
      /no\.txt: the text cannot be read/,
    );
    const ids = new Uint16Array(4 * 64).fill(60000);
    await writeFile(join(folder, 'foreign.u16'), new Uint8Array(ids.buffer));
    await fails(
      [
        ...quantize,
        demo.model,
        'OUT',
        '--group',
        '32',
        '--calib',
        join(folder, 'foreign.u16'),
        '--samples',
        '4',
        '--length',
        '64',
      ],
      /token id 60000 .* outside of the model's vocabulary of 768/,
    );
    await fails(
      [...quantize, demo.model, 'OUT', '--group', '32', '--calib', demo.calibration, '--length', '512'],
      /--length 512 is longer than the model's 256 positions/,
    );
    await fails(
      ['eval', demo.model, '--text', demo.heldOut, '--length', '300'],
      /longer than the model's 256 positions/,
    );
    await fails(['eval', demo.model], /--text FILE is needed/);
  });
});

describe('an output folder', () => {
  it('that is a file or cannot be made', async () => {
    await writeFile(join(folder, 'file'), 'x');
    const { code, err } = await runCommand([...quantize, demo.model, join(folder, 'file'), ...rtn]);
    expect(code).toBe(1);
    expect(err).toContain('file: is a file; an output folder was expected');
    expect(await readFile(join(folder, 'file'), 'utf8')).toBe('x');
    // /proc answers ENOENT to mkdir, which Node's recursive mkdir takes for a reason to go on for ever.
    for (const place of [join(folder, 'file', 'below'), '/proc/q-out'])
      await fails([...quantize, demo.model, place, ...rtn], /(below|q-out): the folder cannot be made \(E[A-Z]+\)/);
    expect((await readdir(folder)).sort()).toEqual(['file', 'model']);
  });
});
