import { defineConfig } from 'tsup';

/**
 * The build of every package: ESM and CommonJS with types for both, one file an entry, nothing of ours bundled in.
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
