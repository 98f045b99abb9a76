import type { HostPart } from './state-store.js';

/** Counts holders, and calls `free` when the last one of a part has gone. */
export function createHolders(free: (part: HostPart) => void) {
  const counts = new Map<HostPart, number>();
  return {
    retain: (part: HostPart) => counts.set(part, (counts.get(part) ?? 0) + 1),
    release(part: HostPart): void {
      const left = (counts.get(part) ?? 0) - 1;
      if (left > 0) counts.set(part, left);
      else if (counts.delete(part)) free(part);
    },
  };
}

/** Things that are free again, by their size. */
export function createSpare<T>() {
  const bySize = new Map<number, T[]>();
  return {
    take: (size: number): T | undefined => bySize.get(size)?.pop(),
    give(size: number, thing: T): void {
      const same = bySize.get(size);
      if (same) same.push(thing);
      else bySize.set(size, [thing]);
    },
  };
}
