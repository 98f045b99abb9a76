import { packageBuild } from '@q/presets/tsup';

export default [
  // The Node entry finds tfjs's CommonJS builds through `createRequire(import.meta.url)`, in both formats.
  packageBuild({ platform: 'node', shims: true, clean: false }),
  // Bundlers accept ES modules only.
  packageBuild({ entry: ['src/index.browser.ts'], format: ['esm'], clean: false }),
];
