import type { BackendChoice } from '../select-backend.js';

/** Backends that the suites run on. `Q_TEST_BACKENDS` names others; the checks of the native engine ask for `node`. */
export const testedBackends = (process.env['Q_TEST_BACKENDS'] ?? 'wasm,cpu').split(',') as BackendChoice[];
