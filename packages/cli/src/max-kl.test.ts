import { access, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { demo } from './testing/demo.js';
import { runCommand } from './testing/run-command.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-max-kl-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const rounded = (out: string, ...more: string[]) =>
  runCommand(['quantize', demo.model, join(folder, out), '--method', 'rtn', '--bits', '3', ...more]);
const scored = ['--eval-text', demo.heldOut, '--windows', '2', '--length', '64'];

it('--max-kl makes the divergence an exit code; the folder and its report are complete either way', async () => {
  const far = await rounded('far', '--max-kl', '1e-9', ...scored);
  expect(far.code).toBe(1);
  expect(far.err).toMatch(/KL divergence to the original is 0\.\d+ nats per token, above --max-kl 1e-9/);
  expect(far.out).toMatch(/against the original: .+ \(at most \d+ % of sampled tokens differ\)/);
  await access(join(folder, 'far', 'q-report.json'));
  expect((await rounded('near', '--max-kl', '5', ...scored)).code).toBe(0);
}, 60_000);

it('--max-kl is refused before anything is written when it is no limit or nothing is compared', async () => {
  for (const [value, more, message] of [
    ['-1', scored, '--max-kl -1: a number above 0 was expected'],
    ['soon', scored, '--max-kl soon: a number above 0 was expected'],
    ['0.1', [], 'give some with --eval-text'],
  ] as const) {
    const { code, err } = await rounded('none', '--max-kl', value, ...more);
    expect([code, err]).toEqual([1, expect.stringContaining(message)]);
    await expect(access(join(folder, 'none'))).rejects.toThrow();
  }
}, 60_000);
