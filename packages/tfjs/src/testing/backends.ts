import type { BackendChoice } from '../select-backend.js';

/**
 * Backends on which the suites run. `Q_TEST_BACKENDS` names others; the checks of the native engine set it to `node`.
 */
export const testedBackends = (process.env['Q_TEST_BACKENDS'] ?? 'wasm,cpu').split(',') as BackendChoice[];
