import { type Store, StoreError } from './store.js';

export interface PatienceOptions {
  /**
   * Number of tries of a request before it counts as failed. Default 6: if one request in ten fails, all six fail once
   * in a million.
   */
  readonly tries?: number;
  /** Milliseconds before the second try, doubled for each later one. Default 100. */
  readonly delay?: number;
}

/** A store that repeats requests after temporary failures. */
export function patientStore(store: Store, { tries = 6, delay = 100 }: PatienceOptions = {}): Store {
  const patiently = async <T>(request: () => Promise<T>): Promise<T> => {
    for (let attempt = 1; ; attempt++) {
      try {
        return await request();
      } catch (error) {
        if (!(error instanceof StoreError) || !error.passing) throw error;
        if (attempt === tries) throw new StoreError(`${error.message}, ${tries} times in a row`);
        // A random part: workers that were rejected at the same time must not repeat their requests at the same time.
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
