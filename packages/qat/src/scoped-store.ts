import type { TrainingStore } from '@q/core';

/** A part of a store under its own name, for trainings of several phases. Saving one part keeps the others. */
export function scopedStore(store: TrainingStore | undefined, scope: string): TrainingStore | undefined {
  if (!store) return undefined;
  const prefix = `${scope}:`;
  return {
    async load() {
      const all = await store.load();
      const own = [...(all ?? [])].filter(([name]) => name.startsWith(prefix));
      return own.length > 0 ? new Map(own.map(([name, values]) => [name.slice(prefix.length), values])) : undefined;
    },
    async save(state) {
      const others = [...((await store.load()) ?? [])].filter(([name]) => !name.startsWith(prefix));
      const own = [...state].map(([name, values]): [string, Float32Array] => [prefix + name, values]);
      await store.save(new Map([...others, ...own]));
    },
  };
}
