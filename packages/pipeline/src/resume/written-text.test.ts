import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Checkpoint, openCheckpoint } from '@q/checkpoint';
import { createContext } from '@q/core';
import { createEngine } from '@q/tfjs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { demoModel } from '../testing/demo-model.js';
import { writtenText, writtenTextName } from './written-text.js';

let checkpoint: Checkpoint;
let folder: string;
beforeAll(async () => {
  checkpoint = await openCheckpoint(demoModel, []);
});
afterAll(() => checkpoint.close());
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-written-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const write = (options: { length?: number; seed?: number; context?: Parameters<typeof createContext>[0] } = {}) =>
  writtenText(checkpoint, {
    ...{ count: 4, length: options.length ?? 12, batch: 2, seed: options.seed ?? 0 },
    context: createContext({ seed: options.seed, ...options.context }),
    engine: () => createEngine({ backend: 'wasm' }),
    file: join(folder, 'out', writtenTextName),
  });

describe('calibration text that the model writes', () => {
  it('is kept as it is written, and an interrupted run goes on to the same tokens', async () => {
    const whole = await write();
    expect(whole).toMatchObject({ count: 4, length: 12 });
    expect(new Set([0, 1, 2, 3].map((i) => whole.ids[12 * i])).size).toBe(4);
    await rm(join(folder, 'out'), { recursive: true });

    const stop = new AbortController();
    const interrupted = write({
      context: { signal: stop.signal, progress: ({ done }) => done > 30 && stop.abort() },
    });
    await expect(interrupted).rejects.toThrow();
    expect(await readdir(join(folder, 'out'))).toEqual([writtenTextName]);
    let written = 0;
    const resumed = await write({ context: { progress: () => written++ } });
    expect(resumed.ids).toEqual(whole.ids);
    expect(written).toBe(11);
    expect((await write({ context: { progress: () => written++ } })).ids).toEqual(whole.ids);
    expect(written).toBe(11);
  });

  it('refuses what was written with other settings, and windows that are too long', async () => {
    await write();
    await expect(write({ seed: 1 })).rejects.toThrow(/another model, or with another seed/);
    await expect(write({ length: 1000 })).rejects.toThrow(/longer than the model's 256 positions/);
  });
});
