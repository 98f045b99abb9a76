import { packageBuild } from '@q/presets/tsup';

export default packageBuild({
  entry: ['src/index.ts', 'src/index.browser.ts'],
  // The Node entry finds tfjs's CommonJS builds through `createRequire(import.meta.url)`, in both formats.
  platform: 'node',
  shims: true,
});
