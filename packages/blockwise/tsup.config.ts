import { packageBuild } from '@q/presets/tsup';

export default packageBuild({ entry: { index: 'src/index.ts', disk: 'src/disk-states.ts' }, platform: 'node' });
