import { packageBuild } from '@q/presets/tsup';

export default packageBuild({ entry: { index: 'src/index.ts', read: 'src/read.ts' }, platform: 'node' });
