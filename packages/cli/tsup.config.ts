import { packageBuild } from '@q/presets/tsup';

export default packageBuild({ entry: ['src/index.ts', 'src/bin.ts'], platform: 'node' });
