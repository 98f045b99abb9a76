import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeChangedDemo } from './testing/changed-demo.js';
import { demo } from './testing/demo.js';
import { runCommand } from './testing/run-command.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-hard-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const text = ['--calib', demo.calibration, '--samples', '16', '--length', '64'];
const evaluation = ['--eval-text', demo.heldOut, '--windows', '6'];

async function quantized(model: string, out: string, ...how: string[]) {
  const found = await runCommand(['quantize', model, join(folder, out), ...how, ...text, ...evaluation, '--json']);
  expect(found.err).not.toContain('error:');
  expect(found.code).toBe(0);
  return JSON.parse(found.out);
}

describe('weights that few models have', () => {
  it.each([
    [
      'one weight of 1e4 in every linear',
      (values: Float32Array, [rows, columns]: readonly number[]) => {
        values[Math.floor(rows / 2) * columns + Math.floor(columns / 3)] = 1e4;
      },
    ],
    [
      'all weights shifted by 100',
      (values: Float32Array) => {
        for (let i = 0; i < values.length; i++) values[i] += 100;
      },
    ],
  ])(
    '%s: the default method ends no worse than round-to-nearest',
    async (name, change) => {
      const model = join(folder, name);
      await writeChangedDemo(model, change);
      const nearest = await quantized(model, `${name} rtn`, '--method', 'rtn');
      const own = await quantized(model, `${name} gptq`);
      // Where nothing is left to tell apart, 1e-6 nats per token are the noise of f32 logits.
      expect(own.evaluation.after.kl).toBeLessThanOrEqual(nearest.evaluation.after.kl + 1e-6);
      // The correction of the residual stream is what made it worse; where it is left out, the report says so.
      expect(own.notes.join('\n')).toContain('the error of the residual stream was not corrected here');
    },
    60_000,
  );
});
