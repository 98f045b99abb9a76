import { packageBuild, writeModules } from '@q/presets/tsup';

export default packageBuild({
  entry: { index: 'src/index.ts', internal: 'src/internal.ts' },
  onSuccess: writeModules,
});
