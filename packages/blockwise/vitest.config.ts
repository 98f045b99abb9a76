import { packageTests } from '@q/presets/vitest';

export default packageTests();
