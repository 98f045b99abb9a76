import type { Context } from './contracts/context.js';
import { referenceKernels } from './kernels/reference.js';
import { noProfile } from './profile/profile.js';
import { createRandom } from './random.js';

export interface ContextOptions extends Partial<Omit<Context, 'random'>> {
  /** 0 when absent. */
  readonly seed?: number | string;
}

/** A frozen context. Defaults: the reference kernels, seed 0, no log. */
export function createContext(options: ContextOptions = {}): Context {
  const {
    seed = 0,
    kernels = referenceKernels,
    logger = { info() {}, warn() {} },
    progress = () => {},
    signal,
    profile = noProfile,
    group,
  } = options;
  return Object.freeze({
    kernels,
    random: createRandom(seed),
    logger,
    progress,
    signal,
    profile,
    ...(group ? { group } : {}),
  });
}
