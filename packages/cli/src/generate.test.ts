import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { demo } from './testing/demo.js';
import { runCommand } from './testing/run-command.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-generate-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const run = ['--prompt', 'Once upon a time', '--tokens', '12', '--threads', '1'];

describe('q generate', () => {
  it('prints one object, the same text that it streams without --json', async () => {
    const asked = ['generate', demo.model, ...run, '--greedy'];
    const json = await runCommand([...asked, '--json']);
    expect(json.err).not.toContain('error');
    const { text, ids, tokensPerSecond } = JSON.parse(json.out);
    expect(ids).toHaveLength(12);
    expect(tokensPerSecond).toBeGreaterThan(0);
    const streamed = await runCommand(asked);
    expect(streamed.out).toBe(`${text}\n`);
  });

  it('draws the same text for the same seed', async () => {
    const draw = async (seed: string) =>
      JSON.parse((await runCommand(['generate', demo.model, ...run, '--seed', seed, '--json'])).out).ids;
    expect(await draw('1')).toEqual(await draw('1'));
    expect(await draw('1')).not.toEqual(await draw('2'));
  });

  it('runs a folder of 4 bits on its codes, and says so', async () => {
    const out = join(folder, 'int4');
    const made = await runCommand(['quantize', demo.model, out, '--method', 'rtn', '--bits', '4', '--no-eval']);
    expect(made.code).toBe(0);
    const { err, code } = await runCommand(['generate', out, ...run, '--greedy', '--json']);
    expect(code).toBe(0);
    expect(err).toMatch(/28 quantized linears stay packed, 0 run as f32/);
  });

  it('writes with a quantized cache of 8 bits what it writes with an f32 one', async () => {
    const greedy = ['generate', demo.model, ...run, '--greedy', '--json'];
    const plain = JSON.parse((await runCommand(greedy)).out);
    const cached = JSON.parse((await runCommand([...greedy, '--cache', 'int8'])).out);
    expect(cached.ids).toEqual(plain.ids);
    expect(cached.cacheBytes).toBeGreaterThan(0);
    const { err, code } = await runCommand([...greedy, '--cache', 'int9']);
    expect(code).not.toBe(0);
    expect(err).toMatch(/no cache scheme is called "int9": int8, int4/);
  });

  it('names what is missing', async () => {
    for (const [args, message] of [
      [[demo.model], /--prompt TEXT is needed/],
      [[demo.model, ...run, '--chat'], /has no chat template/],
      [[demo.model, ...run, '--system', 'x'], /--system needs --chat/],
      [[demo.model, ...run, '--top-p', '2'], /--top-p/],
      [[demo.model, '--prompt', ''], /--prompt "": a text that is not empty was expected/],
    ] as const) {
      const { code, err, out } = await runCommand(['generate', ...args]);
      expect(code).not.toBe(0);
      expect(err).toMatch(message);
      expect(out).toBe('');
    }
  });
});

describe('q generate without a draw', () => {
  it.each([
    ['--greedy', '--temperature', '0.5'],
    ['--greedy', '--top-k', '5'],
    ['--greedy', '--top-p', '0.9'],
    ['--greedy', '--seed', '0'],
    ['--temperature 0', '--top-k', '5'],
    ['--temperature 0', '--top-p', '0.9'],
    ['--temperature 0', '--seed', '0'],
  ])('refuses %s with %s', async (choice, flag, value) => {
    const { code, err, out } = await runCommand(['generate', demo.model, ...run, ...choice.split(' '), flag, value]);
    expect(code).toBe(1);
    expect(err).toContain(`${flag}: has no effect with ${choice}`);
    expect(out).toBe('');
  });

  it('writes the same at temperature 0 as with --greedy', async () => {
    const ids = async (...choice: string[]) =>
      JSON.parse((await runCommand(['generate', demo.model, ...run, ...choice, '--json'])).out).ids;
    expect(await ids('--temperature', '0')).toEqual(await ids('--greedy'));
  });
});

describe('q embed', () => {
  it('prints a vector a line: of a text the same, whatever stands beside it', async () => {
    const lines = join(folder, 'lines.txt');
    await writeFile(lines, 'A small dog.\nThe sun was bright and the sky was blue.\n');
    const alone = join(folder, 'alone.txt');
    await writeFile(alone, 'A small dog.\n');
    const embed = async (text: string) =>
      JSON.parse((await runCommand(['embed', demo.model, '--text', text, '--threads', '1', '--json'])).out).embeddings;
    const [both, one] = [await embed(lines), await embed(alone)];
    expect(both).toHaveLength(2);
    expect(one[0]).toEqual(both[0]);
    expect(both[1]).not.toEqual(both[0]);
    const { code, err } = await runCommand(['embed', demo.model]);
    expect(code).not.toBe(0);
    expect(err).toMatch(/--text FILE is needed/);
  });
});

describe('q eval --cache', () => {
  it('scores 8 bits as the model without, and fewer bits the worse', async () => {
    const score = async (...more: string[]) => {
      const args = ['eval', demo.model, '--text', demo.heldOut, '--length', '128', '--windows', '2', '--threads', '1'];
      const { out, err } = await runCommand([...args, ...more, '--against', demo.model, '--json']);
      expect(err).not.toContain('error');
      return JSON.parse(out);
    };
    const plain = await score();
    const int8 = await score('--cache', 'int8');
    expect(Math.abs(int8.perplexity / plain.perplexity - 1)).toBeLessThan(0.002);
    const int4 = await score('--cache', 'int4');
    const int2 = await score('--cache', 'int2');
    expect(int4.kl).toBeGreaterThan(int8.kl);
    expect(int2.kl).toBeGreaterThan(int4.kl);
    expect(int2.cacheBytes).toBeLessThan(int4.cacheBytes);
    // tfjs reads the cache as f32; the engine of the kernels has attention over the codes.
    const read = await score('--cache', 'int4', '--engine', 'cpu');
    expect(Math.abs(read.perplexity / int4.perplexity - 1)).toBeLessThan(1e-5);
    const rotated = await score('--cache', 'kivi2,rotate,window=32');
    expect(rotated.kl).toBeLessThan(int2.kl);
  });
});
