import { existsSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const root = fileURLToPath(new URL('../..', import.meta.url));

/**
 * The tests of every package run from source (condition `@q/source`). Each run writes a JSON report to `.reports`, from
 * which the final totals are summed.
 * @param {import('vitest/config').ViteUserConfig['test']} [overrides]
 */
export function packageTests(overrides = {}) {
  const name = basename(process.cwd());
  const shared = process.env.QUANT_SHARED ? resolve(root, process.env.QUANT_SHARED) : undefined;
  if (process.env.VITEST && !(shared && existsSync(shared))) {
    console.error(`[${name}] QUANT_SHARED is not set to a folder: tests on the shared models are skipped`);
  }
  return defineConfig({
    resolve: { conditions: ['@q/source', 'module', 'node', 'import', 'default'] },
    ssr: { resolve: { conditions: ['@q/source', 'module', 'node', 'import', 'default'] } },
    test: {
      include: ['src/**/*.test.ts'],
      testTimeout: 120_000,
      hookTimeout: 120_000,
      pool: 'forks',
      maxWorkers: 2,
      reporters: process.env.Q_REPORT ? ['default', 'json'] : ['default'],
      outputFile: { json: resolve(root, `.reports/vitest-${name}.json`) },
      env: {
        ...(shared ? { QUANT_SHARED: shared } : {}),
        // Every machine tests the same engine: a native engine in the user's cache is not used unless the variable
        // requests it.
        ...(process.env.Q_TEST_BACKENDS ? {} : { QUANT_CACHE: resolve(root, '.reports/no-cache') }),
      },
      ...overrides,
    },
  });
}
