/** `pnpm changelog`: writes CHANGELOG.md, by package, from the changesets that are not released yet. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = join(root, '.changeset');
/** @type {Map<string, { kind: string, text: string }[]>} */
const entries = new Map();
for (const file of readdirSync(folder).sort()) {
  if (!file.endsWith('.md') || file === 'README.md') continue;
  const [, head, body] = /^---\n([\s\S]*?)\n---\n([\s\S]*)$/.exec(readFileSync(join(folder, file), 'utf8')) ?? [];
  if (head === undefined) throw new Error(`.changeset/${file}: has no head between two lines of ---`);
  for (const line of head.split('\n').filter(Boolean)) {
    const [, name, kind] = /^['"]?(@q\/[\w-]+)['"]?:\s*(major|minor|patch)$/.exec(line.trim()) ?? [];
    if (name === undefined) throw new Error(`.changeset/${file}: ${JSON.stringify(line)} is not '@q/NAME': minor`);
    entries.set(name, [...(entries.get(name) ?? []), { kind, text: body.trim().replace(/\s*\n\s*/g, ' ') }]);
  }
}
const lines = ['# Changes', '', 'Not released yet. `pnpm changelog` writes this file from `.changeset/`.', ''];
for (const [name, own] of [...entries].sort(([a], [b]) => (a < b ? -1 : 1))) {
  lines.push(`## ${name}`, '');
  for (const kind of ['major', 'minor', 'patch'])
    for (const entry of own.filter((each) => each.kind === kind)) lines.push(`- ${kind}: ${entry.text}`);
  lines.push('');
}
writeFileSync(join(root, 'CHANGELOG.md'), lines.join('\n'));
console.log(`CHANGELOG.md: ${entries.size} packages`);
