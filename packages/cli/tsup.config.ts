import { packageBuild } from '@q/presets/tsup';
import { defineConfig } from 'tsup';

const library = packageBuild({ platform: 'node', shims: true });
// The command itself is an ES module only: nobody imports it.
const command = packageBuild({ entry: ['src/bin.ts'], format: ['esm'], platform: 'node', dts: false, clean: false });

export default defineConfig([library, command].flat() as Parameters<typeof defineConfig>[0]);
