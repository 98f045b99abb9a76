import { readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { version } from './version.js';

it('the command says the version of its package', async () => {
  const manifest = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8'));
  expect(version).toBe(manifest.version);
});
