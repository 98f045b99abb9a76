import type { StreamKernels } from '../contracts/stream-kernels.js';

/** `reserve` in memory of its own. Apart from `plainStream`: who reserves alone does not bundle the packing of words. */
export const plainReserve: StreamKernels['reserve'] = (bytes) => ({ bytes: new Uint8Array(bytes), release: () => {} });
