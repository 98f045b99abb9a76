/**
 * Makes a package in the house layout: `pnpm new-package NAME "one sentence" [dependency ...]`. With `--method` it
 * makes a package of a method, with a working skeleton, its test by `@q/conformance`, and a README whose snippet runs.
 * Existing files are kept.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { derivedFields, published, sharedKeywords } from './package-manifest.mjs';
import { publicNames } from './public-names.mjs';

const words = process.argv.slice(2);
const isMethod = words.includes('--method');
const [name, description, ...more] = words.filter((word) => word !== '--method');
if (!name || !description || !/^[a-z][a-z0-9-]*$/.test(name)) {
  console.error('Usage: pnpm new-package NAME "one sentence" [--method] [@q/core name@version ...]');
  console.error('NAME: lower-case letters, digits and hyphens');
  process.exit(1);
}
const dependencies = isMethod && !more.includes('@q/core') ? ['@q/core', ...more] : more;
const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = join(root, 'packages', name);
const made = [];
const kept = [];

function write(path, content) {
  if (existsSync(path)) {
    kept.push(path);
    return;
  }
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
  made.push(path);
}

const json = (value) => `${JSON.stringify(value, null, 2)}\n`;
/** `my-method` -> `myMethod` */
const camel = name.replace(/-([a-z0-9])/g, (_, letter) => letter.toUpperCase());

const { license, type, sideEffects, engines, repository } = derivedFields(name);
const manifest = {
  name: `@q/${name}`,
  version: '0.1.0',
  description,
  keywords: [...sharedKeywords, name],
  repository,
  ...(isMethod ? { q: { kind: 'method' } } : {}),
  license,
  type,
  sideEffects,
  engines,
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
  devDependencies: { ...(isMethod ? { '@q/conformance': 'workspace:*' } : {}), '@q/presets': 'workspace:*' },
};
if (dependencies.length === 0) delete manifest.dependencies;

write(join(folder, 'package.json'), json(manifest));
write(join(folder, 'tsconfig.json'), json({ extends: '../../tsconfig.base.json', include: ['src'] }));
write(
  join(folder, 'tsup.config.ts'),
  `import { packageBuild } from '@q/presets/tsup';\n\nexport default packageBuild();\n`,
);
write(
  join(folder, 'vitest.config.ts'),
  `import { packageTests } from '@q/presets/vitest';\n\nexport default packageTests();\n`,
);
if (isMethod) {
  write(join(folder, 'src', 'index.ts'), `export { ${camel}, ${camel}Method, type ${type_()} } from './${name}.js';\n`);
  write(join(folder, 'src', `${name}.ts`), methodSource());
  write(join(folder, 'src', `${name}.test.ts`), testSource());
  write(join(folder, 'README.md'), `# @q/${name}\n\n${description}\n\n${snippet()}`);
} else {
  write(join(folder, 'src', 'index.ts'), 'export {};\n');
  write(join(folder, 'README.md'), `# @q/${name}\n\n${description}\n`);
}
write(join(root, '.changeset', `${name}-first.md`), `---\n'@q/${name}': minor\n---\n\nFirst release: ${description}\n`);

// The files are formatted by the linter, because the length of a name decides where a line breaks.
spawnSync(join(root, 'node_modules', '.bin', 'biome'), ['check', '--write', folder], { cwd: root, stdio: 'ignore' });
write(join(folder, 'public-names.txt'), publicNames(folder));
const shown = (path) => path.slice(root.length);
for (const path of made) console.log(`made ${shown(path)}`);
for (const path of kept) console.log(`kept ${shown(path)}: it is there already`);
console.log(`next: pnpm install, then pnpm --filter @q/${name} test`);
if (isMethod) console.log(`to name it in q: add ${camel}Method to packages/cli/src/registry.ts and its package.json`);

function type_() {
  return `${camel[0].toUpperCase()}${camel.slice(1)}Options`;
}

function methodSource() {
  return `import { checkOptions, type Method, minMax, number, type OptionValues, type Quantizer, quantize } from '@q/core';

const ${camel}Options = {
  /** Share of the range of each group that is kept, above 0 and at most 1. Default 1. */
  range: number({ above: 0, max: 1, default: 1, help: 'Share of the range of each group that is kept.' }),
};

export type ${type_()} = OptionValues<typeof ${camel}Options>;

/**
 * ${description}
 * @throws SchemeError for an option that it does not have, or a value out of its range
 */
export function ${camel}(options: ${type_()} = {}): Quantizer {
  const { range } = checkOptions('${name}', ${camel}Options, options);
  const rule = minMax();
  return {
    name: '${name}',
    options: { range },
    needs: [],
    async quantize(weight, _statistics, scheme, { kernels }) {
      const fit: typeof rule = {
        ...rule,
        fit(panel) {
          rule.fit(panel);
          for (let row = 0; row < panel.rows; row++) panel.scale[row] *= range;
        },
        fitGroups: undefined,
      };
      return {
        quantized: quantize(weight, scheme, { fit, kernels }),
        report: { method: '${name}', tokens: 0, figures: {}, notes: [] },
      };
    },
  };
}

/** What the command and recipes know of it. */
export const ${camel}Method: Method<typeof ${camel}Options> = {
  name: '${name}',
  summary: ${JSON.stringify(description)},
  options: ${camel}Options,
  quantizer: ${camel},
};
`;
}

function testSource() {
  return `import { quantizerConformance } from '@q/conformance';
import { describe, expect, it } from 'vitest';
import { ${camel} } from './${name}.js';

describe('${name}', () => {
  for (const { name, run } of quantizerConformance()) it(name, () => run(${camel}()));

  it('refuses an option out of its range', () => {
    expect(() => ${camel}({ range: 0 })).toThrow('range must be a number above 0');
  });
});
`;
}

function snippet() {
  return `\`\`\`ts
import { createContext, dequantize, schemes, tensor } from '@q/core';
import { ${camel} } from '@q/${name}';

const weight = tensor('f32', [2, 4], Float32Array.of(0.1, -0.2, 0.3, -0.4, 0.5, -0.6, 0.7, -0.8));
const nothing = {
  get: () => {
    throw new Error('no statistic is needed');
  },
  has: () => false,
};
const { quantized } = await ${camel}().quantize(weight, nothing, schemes.integer(4), createContext());
console.log(dequantize(quantized).data);
\`\`\`
`;
}
