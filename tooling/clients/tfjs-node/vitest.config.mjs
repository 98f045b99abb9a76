import { fileURLToPath } from 'node:url';
import { packageTests } from '@q/presets/vitest';

const root = fileURLToPath(new URL('../../..', import.meta.url));

/** The suites of the engine on the backend that `Q_TEST_BACKENDS` names, and those next to this file. */
export default packageTests({
  root,
  include: [
    'tooling/clients/tfjs-node/*.test.ts',
    'packages/tfjs/src/ops.test.ts',
    'packages/tfjs/src/gradients.test.ts',
    'packages/models/src/transformers-logits.test.ts',
    'tooling/figures/src/reference-figures.test.ts',
  ],
  // The runners are shared and slow, and the shared models are scored as a whole.
  testTimeout: 600_000,
  outputFile: { json: `${root}/.reports/${process.env['Q_REPORT_NAME'] ?? 'client-tfjs-node'}.json` },
});
