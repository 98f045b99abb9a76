import { packageTests } from '@q/presets/vitest';

export default packageTests({ maxConcurrency: 2, testTimeout: 300_000 });
