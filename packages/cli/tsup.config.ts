import { packageBuild } from '@q/presets/tsup';
import { defineConfig, type Options } from 'tsup';

/**
 * Imports linkedom from `linkedom/worker`, the same library in one ES module. The modules of the other entry and of its
 * dependencies, about 180, take 0.12 s of processor time to load, a tenth of `q quantize` of a small model.
 */
const oneModuleLinkedom: NonNullable<Options['esbuildPlugins']>[number] = {
  name: 'one-module-linkedom',
  setup({ onResolve }) {
    onResolve({ filter: /^linkedom$/ }, () => ({ path: 'linkedom/worker', external: true }));
  },
};

const library = packageBuild({ platform: 'node', shims: true });
// The command itself is an ES module only: nobody imports it. In parts, of which a command loads what it needs.
const command = packageBuild({
  ...{ entry: ['src/bin.ts'], format: ['esm'], platform: 'node' },
  ...{ dts: false, clean: false, splitting: true },
  // The plugin gets only packages that are not external.
  ...{ noExternal: ['linkedom'], esbuildPlugins: [oneModuleLinkedom] },
});

export default defineConfig([library, command].flat() as Parameters<typeof defineConfig>[0]);
