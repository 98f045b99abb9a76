import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { listModelFolder } from './model-folder.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-listing-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** A path below the folder, of bytes that are no UTF-8. */
const odd = (name: string) => Buffer.concat([Buffer.from(`${folder}/`), Buffer.from(name, 'latin1')]);

// Other systems do not take such names.
it.runIf(process.platform === 'linux')(
  'leaves names that are no UTF-8, which Node cannot open by what it shows',
  async () => {
    await writeFile(join(folder, 'tokenizer.json'), '{}');
    await writeFile(join(folder, 'a\ufffd.txt'), 'its name has the mark itself');
    await writeFile(odd('b\xff.txt'), 'no UTF-8');
    await mkdir(odd('c\xfe'));
    const { others, left } = await listModelFolder(folder);
    expect(others).toEqual(['a\ufffd.txt', 'tokenizer.json']);
    expect(left).toEqual(['b\ufffd.txt', 'c\ufffd']);
  },
);
