import { readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { toolkitVersion } from './toolkit-version.js';

it('is that of the package', async () => {
  const { version } = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8'));
  expect(toolkitVersion).toBe(version);
});
