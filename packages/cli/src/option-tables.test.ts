import { join } from 'node:path';
import { expect, it } from 'vitest';
import { builtin } from './registry.js';
import { optionPage } from './testing/option-tables.js';

it('docs/options.md says what the packages declare', async () => {
  await expect(optionPage(builtin)).toMatchFileSnapshot(join(import.meta.dirname, '../../../docs/options.md'));
});
