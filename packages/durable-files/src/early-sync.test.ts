import { describe, expect, it } from 'vitest';
import { createEarlySync } from './early-sync.js';

/** A file whose syncs end when the test says so. */
function heldFile() {
  const ends: { resolve(): void; reject(error: Error): void }[] = [];
  const sync = () => new Promise<void>((resolve, reject) => ends.push({ resolve, reject }));
  return { file: { sync }, ends };
}

describe('createEarlySync', () => {
  it('syncs after eight megabytes, and not again while a sync runs', async () => {
    const { file, ends } = heldFile();
    const early = createEarlySync(file);
    early.wrote(7e6);
    expect(ends).toHaveLength(0);
    early.wrote(1e6);
    early.wrote(9e6);
    expect(ends).toHaveLength(1);
    ends[0].resolve();
    await early.idle();
    early.wrote(1);
    expect(ends).toHaveLength(2);
    ends[1].resolve();
    await early.finish();
  });

  it('tells a failure at the end, and lets an abort go on', async () => {
    const { file, ends } = heldFile();
    const early = createEarlySync(file);
    early.wrote(8e6);
    ends[0].reject(new Error('the disk is full'));
    await early.idle();
    await expect(early.finish()).rejects.toThrow('the disk is full');
  });
});
