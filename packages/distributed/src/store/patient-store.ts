import { type Store, StoreError } from './store.js';

export interface PatienceOptions {
  /** How often a request is made before its failure counts. Default 6: of a store that fails one in ten, one in a million. */
  readonly tries?: number;
  /** Milliseconds before the second try, doubled for each that follows. Default 100. */
  readonly delay?: number;
}

/** A store whose requests are made again when they fail in a way that passes. */
export function patientStore(store: Store, { tries = 6, delay = 100 }: PatienceOptions = {}): Store {
  const patiently = async <T>(request: () => Promise<T>): Promise<T> => {
    for (let attempt = 1; ; attempt++) {
      try {
        return await request();
      } catch (error) {
        if (!(error instanceof StoreError) || !error.passing) throw error;
        if (attempt === tries) throw new StoreError(`${error.message}, ${tries} times in a row`);
        // Many workers that were turned away at once must not come back at once.
        const pause = delay * 2 ** (attempt - 1) * (0.5 + Math.random());
        await new Promise((resolve) => setTimeout(resolve, pause));
      }
    }
  };
  return {
    name: store.name,
    read: (name, begin, end) => patiently(() => store.read(name, begin, end)),
    has: (name) => patiently(() => store.has(name)),
    publish: (name, bytes) => patiently(() => store.publish(name, bytes)),
    remove: (name) => patiently(() => store.remove(name)),
  };
}
