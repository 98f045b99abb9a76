import { packageBuild, writeModules } from '@q/presets/tsup';

export default packageBuild({
  entry: { index: 'src/index.ts', conformance: 'src/conformance.ts' },
  onSuccess: writeModules,
});
