import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { commands } from './commands.js';
import { builtin, ggufPartFormats, ggufTypes } from './registry.js';
import { optionPage } from './testing/option-tables.js';

const docs = join(import.meta.dirname, '../../../docs');
/** Commands whose output is no JSON object of their own: a worker prints none, and a schema is one itself. */
const withoutJson = ['worker', 'schema'];

it('docs/options.md says what the packages declare', async () => {
  await expect(optionPage(builtin)).toMatchFileSnapshot(join(docs, 'options.md'));
});

describe('docs/command.md', async () => {
  const page = await readFile(join(docs, 'command.md'), 'utf8');
  const readme = await readFile(join(import.meta.dirname, '../README.md'), 'utf8');
  const named = page.slice(0, page.indexOf('## Recipe options'));
  const outputs = page.slice(page.indexOf('## JSON outputs'));

  it.each(commands.map(({ name }) => name))('shows q %s, as the README of the package does', (name) => {
    const words = name.split(' ').join(' +');
    expect(named).toMatch(new RegExp(`^pnpm q ${words}\\b`, 'm'));
    expect(readme).toMatch(new RegExp(`^q ${name.startsWith('engine') ? 'engine' : words}\\b`, 'm'));
  });

  it.each(commands.map(({ name }) => name).filter((name) => !withoutJson.includes(name)))(
    'lists the keys that q %s prints',
    (name) => {
      expect(outputs).toMatch(new RegExp(`^\\| (.*, )?\`${name}[\` ]`, 'm'));
    },
  );
});

it('docs/gguf.md lists the types of q gguf', async () => {
  const page = await readFile(join(docs, 'gguf.md'), 'utf8');
  const namesOf = (text: string | undefined) => [...(text ?? '').matchAll(/`(\w+)`/g)].map(([, name]) => name);
  const types = namesOf(/^\| `--type` +\|([^|]*)\|/m.exec(page)?.[1]);
  expect(types).toEqual([...ggufTypes.keys()]);
  const more = namesOf(/`--embeddings` take the types of `--type`, and also([\s\S]*?)\./.exec(page)?.[1]);
  const parts = [...ggufPartFormats.keys()];
  expect(more).toEqual(parts.slice(-more.length));
  expect(types.slice(0, parts.length - more.length)).toEqual(parts.slice(0, -more.length));
});
