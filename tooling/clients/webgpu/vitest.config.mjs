import { fileURLToPath } from 'node:url';
import { packageTests } from '@q/presets/vitest';

const root = fileURLToPath(new URL('../../..', import.meta.url));

/** The suites of the kernels, and of the command's use of them, on the driver that the environment names. */
export default packageTests({
  root,
  include: ['packages/kernels-webgpu/src/**/*.test.ts', 'packages/cli/src/webgpu-kernels.test.ts'],
  // Drivers that run shaders on the processor take seconds to compile each one.
  testTimeout: 300_000,
  outputFile: { json: `${root}/.reports/client-webgpu-dawn.json` },
});
