/** The keys of a Map as a set, without a copy of them: a file may have hundreds of thousands of tensors. */
export class KeySet implements ReadonlySet<string> {
  constructor(private readonly map: ReadonlyMap<string, unknown>) {}

  get size(): number {
    return this.map.size;
  }

  has(key: string): boolean {
    return this.map.has(key);
  }

  keys(): SetIterator<string> {
    return this.map.keys() as SetIterator<string>;
  }

  values(): SetIterator<string> {
    return this.keys();
  }

  *entries(): SetIterator<[string, string]> {
    for (const key of this.map.keys()) yield [key, key];
  }

  [Symbol.iterator](): SetIterator<string> {
    return this.keys();
  }

  forEach(each: (value: string, key: string, set: ReadonlySet<string>) => void, self?: unknown): void {
    for (const key of this.map.keys()) each.call(self, key, key, this);
  }
}
