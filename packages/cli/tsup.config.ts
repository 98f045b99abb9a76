import { packageBuild } from '@q/presets/tsup';
import { defineConfig } from 'tsup';

const library = packageBuild({ platform: 'node', shims: true });
// The command itself is an ES module only: nobody imports it. In parts, of which a command loads what it needs.
const command = packageBuild({
  ...{ entry: ['src/bin.ts'], format: ['esm'], platform: 'node' },
  ...{ dts: false, clean: false, splitting: true },
});

export default defineConfig([library, command].flat() as Parameters<typeof defineConfig>[0]);
