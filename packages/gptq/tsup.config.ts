import { packageBuild, writeModules } from '@q/presets/tsup';

export default packageBuild({ onSuccess: writeModules });
