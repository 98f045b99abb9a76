import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { folderStore } from './folder-store.js';
import { openStore } from './open-store.js';
import { packParts, unpackParts } from './packed-parts.js';
import { patientStore } from './patient-store.js';
import { s3Store } from './s3-store.js';
import { objectName, type Store, StoreError, sumOfParts } from './store.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-store-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));
const bytes = (...values: number[]) => Uint8Array.from(values);

describe('a folder as a store', () => {
  it('gives back what was published, whole and by range', async () => {
    const store = folderStore(folder);
    expect(await store.publish('tensors/ab/abc', bytes(1, 2, 3, 4))).toBe(true);
    expect(await store.read('tensors/ab/abc')).toEqual(bytes(1, 2, 3, 4));
    expect(await store.read('tensors/ab/abc', 1, 3)).toEqual(bytes(2, 3));
    expect([await store.has('tensors/ab/abc'), await store.has('tensors/ab/x')]).toEqual([true, false]);
    expect(await store.read('tensors/ab/x')).toBeUndefined();
    await expect(store.read('tensors/ab/abc', 2, 9)).rejects.toThrow(/ends at byte 4, 9 were expected/);
  });

  it('keeps the first of two results, also of many that come at once', async () => {
    const store = folderStore(folder);
    const published = await Promise.all(Array.from({ length: 20 }, (_, i) => store.publish('results/r', bytes(i))));
    expect(published.filter(Boolean)).toHaveLength(1);
    expect(await store.read('results/r')).toEqual(bytes(published.indexOf(true)));
    expect(await readdir(join(folder, 'partial'))).toEqual([]);
  });

  it('does not come back with a late result once it was removed', async () => {
    const store = folderStore(join(folder, 'gone'));
    await expect(store.publish('results/ab/r', bytes(1))).rejects.toThrow(/the store does not exist/);
    expect(await readdir(folder)).toEqual([]);
    expect(await (await openStore(join(folder, 'gone'), { make: true })).publish('results/ab/r', bytes(1))).toBe(true);
  });

  it('refuses names outside of it, and says what a full or forbidden folder is', async () => {
    const store = folderStore(folder);
    await expect(store.read('../x')).rejects.toThrow(StoreError);
    await writeFile(join(folder, 'results'), 'a file where a folder should be');
    await expect(store.publish('results/r', bytes(1))).rejects.toThrow(/results/);
  });
});

describe('a store that fails now and then', () => {
  it('is asked again while the failure passes, and no longer', async () => {
    const good = folderStore(folder);
    let requests = 0;
    const flaky: Store = {
      ...good,
      async publish(name, content) {
        if (++requests % 3 !== 0) throw new StoreError('busy', true);
        return good.publish(name, content);
      },
      read: async () => {
        throw new StoreError('forbidden');
      },
    };
    const store = patientStore(flaky, { delay: 1 });
    expect(await store.publish('results/r', bytes(1))).toBe(true);
    expect(requests).toBe(3);
    await expect(store.read('results/r')).rejects.toThrow(/^forbidden$/);
    const never = patientStore({ ...flaky, has: () => Promise.reject(new StoreError('gone', true)) }, { delay: 1 });
    await expect(never.has('x')).rejects.toThrow('gone, 6 times in a row');
  });
});

describe('addresses of stores', () => {
  it('that cannot be used are refused with what is expected', async () => {
    await expect(openStore('ftp://host/x')).rejects.toThrow(/a folder or s3:\/\/bucket\/prefix was expected/);
    await expect(s3Store('s3://', {})).rejects.toThrow(/bucket/);
    await expect(s3Store('s3://bucket', {})).rejects.toThrow(/AWS_ACCESS_KEY_ID/);
  });
});

describe('results', () => {
  it('come back as they were, and every damage shows', () => {
    const packed = packParts({ header: { a: 1 }, parts: [bytes(1, 2, 3), bytes(), bytes(4)] });
    const { header, parts } = unpackParts(packed, 'r');
    expect([header, parts.map((part) => [...part])]).toEqual([{ a: 1 }, [[1, 2, 3], [], [4]]]);
    for (let i = 0; i < packed.length; i++) {
      const damaged = packed.slice();
      damaged[i] ^= 1;
      expect(() => unpackParts(damaged, 'r')).toThrow(/r: is damaged/);
    }
    expect(() => unpackParts(packed.subarray(0, packed.length - 1), 'r')).toThrow(/damaged/);
  });

  it('have names that differ when any part of their inputs does', () => {
    expect(sumOfParts('ab', 'c')).not.toBe(sumOfParts('a', 'bc'));
    expect(objectName('results', sumOfParts('a'))).toMatch(/^results\/[0-9a-f]{2}\/[0-9a-f]{64}$/);
  });
});
