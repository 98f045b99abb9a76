/** Makes a package in the house layout: `pnpm new-package NAME "one sentence" [dependency ...]`. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const [name, description, ...dependencies] = process.argv.slice(2);
if (!name || !description) {
  console.error('Usage: pnpm new-package NAME "one sentence" [@q/core name@version ...]');
  process.exit(1);
}
const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = join(root, 'packages', name);
mkdirSync(join(folder, 'src'), { recursive: true });

const write = (file, content) => {
  const path = join(folder, file);
  if (!existsSync(path)) writeFileSync(path, content);
};
const published = {
  import: { types: './dist/index.d.ts', default: './dist/index.js' },
  require: { types: './dist/index.d.cts', default: './dist/index.cjs' },
};
const manifest = {
  name: `@q/${name}`,
  version: '0.1.0',
  description,
  license: 'MIT',
  type: 'module',
  sideEffects: false,
  engines: { node: '>=20.19' },
  exports: { '.': { '@q/source': './src/index.ts', ...published } },
  main: './dist/index.cjs',
  types: './dist/index.d.cts',
  files: ['dist', 'README.md'],
  publishConfig: { access: 'public', exports: { '.': published } },
  scripts: {
    build: 'tsup',
    typecheck: 'tsc --noEmit',
    test: 'vitest run',
    check: 'publint --strict && attw --pack . --quiet',
  },
  dependencies: Object.fromEntries(
    dependencies.map((entry) => {
      const at = entry.lastIndexOf('@');
      return at > 0 ? [entry.slice(0, at), entry.slice(at + 1)] : [entry, 'workspace:^'];
    }),
  ),
  devDependencies: { '@q/presets': 'workspace:*' },
};
if (Object.keys(manifest.dependencies).length === 0) delete manifest.dependencies;
write('package.json', `${JSON.stringify(manifest, null, 2)}\n`);
write('tsconfig.json', `${JSON.stringify({ extends: '../../tsconfig.base.json', include: ['src'] }, null, 2)}\n`);
write('tsup.config.ts', `import { packageBuild } from '@q/presets/tsup';\n\nexport default packageBuild();\n`);
write('vitest.config.ts', `import { packageTests } from '@q/presets/vitest';\n\nexport default packageTests();\n`);
write('src/index.ts', 'export {};\n');
write('README.md', `# @q/${name}\n\n${description}\n`);
const changeset = join(root, '.changeset', `${name}-first.md`);
if (!existsSync(changeset))
  writeFileSync(changeset, `---\n'@q/${name}': minor\n---\n\nFirst release: ${description}\n`);
