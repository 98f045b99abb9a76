import type { Profile, StageTime } from '../contracts/profile.js';

/** A profile that can be read. */
export interface RecordedProfile extends Profile {
  /** In the order in which the stages first began. */
  readonly stages: readonly StageTime[];
}

/** A profile that does the work and records nothing. */
export const noProfile: Profile = {
  stage: async (_name, work) => work(),
  count() {},
};

/** @param now milliseconds of a clock */
export function createProfile(now: () => number = () => performance.now()): RecordedProfile {
  const stages = new Map<string, { seconds: number; calls: number; operations: number }>();
  const open: string[] = [];
  let since = now();
  const of = (name: string) => {
    const found = stages.get(name) ?? { seconds: 0, calls: 0, operations: 0 };
    stages.set(name, found);
    return found;
  };
  /** The time since the last change goes to the innermost stage. */
  const settle = () => {
    const until = now();
    const name = open.at(-1);
    if (name !== undefined) of(name).seconds += (until - since) / 1000;
    since = until;
  };
  return {
    async stage(name, work) {
      settle();
      of(name).calls++;
      open.push(name);
      try {
        return await work();
      } finally {
        settle();
        open.pop();
      }
    },
    count(operations) {
      const name = open.at(-1);
      if (name !== undefined) of(name).operations += operations;
    },
    get stages() {
      return [...stages].map(([stage, figures]) => ({ stage, ...figures }));
    },
  };
}
