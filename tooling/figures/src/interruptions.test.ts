import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { runKinds } from './interruption-kinds.js';
import { faults, interruptRun } from './interruptions.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-interruptions-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** A part of what `pnpm figures:interruptions` tries in full: every n-th operation of the quick kinds. */
it.each([
  ['rtn in 4 shards', 16],
  ['eval after quantize', 30],
  ['gguf', 16],
])('%s dies, and the same command gives the same bytes', async (name, every) => {
  const kind = runKinds.find((each) => each.name === name);
  if (!kind) throw new Error(`${name} is no kind of run`);
  const results = await interruptRun(kind, { folder: join(folder, 'runs'), faults, every });
  for (const [fault, { equal, refused, others, places }] of results) {
    expect(others, fault).toEqual([]);
    expect(equal + refused, fault).toBe(places);
    // A file of GGUF that is whole is not written again: the command says that it is there.
    if (name !== 'gguf') expect(refused, fault).toBe(0);
  }
});
