import { packageBuild } from '@q/presets/tsup';

export default packageBuild();
