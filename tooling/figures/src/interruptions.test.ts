import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { runKinds } from './interruption-kinds.js';
import { type Fault, faults, interruptRun } from './interruptions.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-interruptions-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** A part of what `pnpm figures:interruptions` tries in full: every n-th operation of the quick kinds. */
it.each<[string, number, readonly Fault[]]>([
  ['rtn in 4 shards', 60, faults],
  ['eval after quantize', 60, faults],
  ['gguf', 16, faults],
  // Place 120 lies between its two blocks.
  ['signround', 60, ['kill', 'killTwice']],
])('%s dies, and the same command gives the same bytes', async (name, every, chosen) => {
  const kind = runKinds.find((each) => each.name === name);
  if (!kind) throw new Error(`${name} is no kind of run`);
  const results = await interruptRun(kind, { folder: join(folder, 'runs'), faults: chosen, every });
  for (const [fault, { equal, refused, others, places }] of results) {
    expect(others, fault).toEqual([]);
    expect(equal + refused, fault).toBe(places);
    // A file of GGUF that is whole is not written again: the command says that it is there.
    if (name !== 'gguf') expect(refused, fault).toBe(0);
  }
});
