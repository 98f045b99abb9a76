import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { defineConfig } from 'tsup';

/** Every source file of a package, except tests and files that only tests need. */
function sourceFiles(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return entry.name === 'testing' ? [] : sourceFiles(path);
    return entry.name.endsWith('.ts') && !entry.name.endsWith('.test.ts') ? [path] : [];
  });
}

/**
 * Builds ESM again, one file a module. A bundler drops modules that nothing imports (`sideEffects: false`). It keeps
 * the tables and objects at the top of one large file, because they call functions. CommonJS and types keep one file an
 * entry.
 */
export async function writeModules() {
  await build({
    entryPoints: sourceFiles('src'),
    outdir: 'dist',
    outbase: 'src',
    format: 'esm',
    target: 'node20',
    sourcemap: true,
    logLevel: 'error',
  });
}

/**
 * The build of every package: ESM and CommonJS with types for both, one file an entry, no package of the repository
 * bundled in.
 * @param {import('tsup').Options} [overrides]
 */
export function packageBuild(overrides = {}) {
  return defineConfig({
    entry: ['src/index.ts'],
    format: ['esm', 'cjs'],
    dts: { compilerOptions: { customConditions: [], composite: false } },
    target: 'node20',
    platform: 'neutral',
    sourcemap: true,
    splitting: false,
    clean: true,
    shims: false,
    ...overrides,
  });
}
