import type { FileDtype } from './file-dtype.js';
import type { TensorEntry } from './header.js';

/** Largest distance of a name from its own slot: with more steps the names were made to collide. */
const mostSteps = 1000;

/** An upper bound for the size of a table, so no array has to grow. */
export interface TableRoom {
  readonly tensors: number;
  readonly nameBytes: number;
}

/**
 * Tensors of one file by name, in the order of its header, with the interface of a Map. The table has its numbers in
 * typed arrays and all names in one text, and makes an entry when code requests it. As objects, 400,000 tensors take
 * 100 MB and the time to collect them. Names are ASCII.
 */
export class TensorTable<E extends TensorEntry = TensorEntry> implements ReadonlyMap<string, E> {
  #size = 0;
  #nameEnd = 0;
  #text = '';
  #names: Uint8Array | undefined;
  readonly #nameEnds: Uint32Array;
  readonly #begins: Float64Array;
  readonly #ends: Float64Array;
  /** Index of the pair of dtype and shape. */
  readonly #kinds: Uint32Array;
  readonly #kindList: { readonly dtype: FileDtype; readonly shape: readonly number[] }[] = [];
  readonly #kindOf = new Map<readonly number[], Map<FileDtype, number>>();
  #slots = new Int32Array(1);
  #steps = 0;
  // A random number for each table, so a file cannot choose names that share a slot.
  readonly #seed = (Math.random() * 2 ** 32) | 0;

  /** @param file the name of the file in the entries, if they have one */
  constructor(
    room: TableRoom,
    private readonly file?: string,
  ) {
    this.#names = new Uint8Array(room.nameBytes);
    this.#nameEnds = new Uint32Array(room.tensors);
    this.#begins = new Float64Array(room.tensors);
    this.#ends = new Float64Array(room.tensors);
    this.#kinds = new Uint32Array(room.tensors);
  }

  /** Adds a tensor whose name is `bytes[from, to)`. Equal shapes should be one array. */
  add(bytes: Uint8Array, from: number, to: number, tensor: Omit<TensorEntry, 'name'>): void {
    const { dtype, shape, begin, end } = tensor;
    const names = this.#names as Uint8Array;
    for (let at = from; at < to; at++) names[this.#nameEnd++] = bytes[at];
    const index = this.#size++;
    this.#nameEnds[index] = this.#nameEnd;
    this.#begins[index] = begin;
    this.#ends[index] = end;
    let kinds = this.#kindOf.get(shape);
    if (kinds === undefined) this.#kindOf.set(shape, (kinds = new Map()));
    let kind = kinds.get(dtype);
    if (kind === undefined) {
      kinds.set(dtype, (kind = this.#kindList.length));
      this.#kindList.push({ dtype, shape });
    }
    this.#kinds[index] = kind;
  }

  /**
   * Builds the index of names.
   * @returns false when two names are equal, or were made to collide: the table is then unusable
   */
  finish(): boolean {
    this.#text = new TextDecoder().decode((this.#names as Uint8Array).subarray(0, this.#nameEnd));
    this.#names = undefined;
    let slots = 4;
    while (slots < 2 * this.#size) slots *= 2;
    this.#slots = new Int32Array(slots);
    for (let index = 0; index < this.#size; index++) {
      const from = this.#nameStart(index);
      const to = this.#nameEnds[index];
      let slot = this.#slotOf(this.#text, from, to);
      for (let steps = 0; this.#slots[slot] !== 0; steps++) {
        if (steps === mostSteps || this.#hasName(this.#slots[slot] - 1, this.#text, from, to)) return false;
        if (steps >= this.#steps) this.#steps = steps + 1;
        slot = (slot + 1) & (slots - 1);
      }
      this.#slots[slot] = index + 1;
    }
    return true;
  }

  /** Whether the tensors cover the bytes from one offset to another without gaps, in the order of the header. */
  touch(from: number, to: number): boolean {
    let at = from;
    for (let index = 0; index < this.#size; index++) {
      if (this.#begins[index] !== at) return false;
      at = this.#ends[index];
    }
    return at === to;
  }

  get size(): number {
    return this.#size;
  }

  has(name: string): boolean {
    return this.#find(name) >= 0;
  }

  get(name: string): E | undefined {
    const index = this.#find(name);
    return index < 0 ? undefined : this.#entry(index, name);
  }

  *keys(): MapIterator<string> {
    for (let index = 0; index < this.#size; index++) yield this.#name(index);
  }

  *values(): MapIterator<E> {
    for (let index = 0; index < this.#size; index++) yield this.#entry(index, this.#name(index));
  }

  *entries(): MapIterator<[string, E]> {
    for (const entry of this.values()) yield [entry.name, entry];
  }

  [Symbol.iterator](): MapIterator<[string, E]> {
    return this.entries();
  }

  forEach(each: (entry: E, name: string, table: ReadonlyMap<string, E>) => void, self?: unknown): void {
    for (const entry of this.values()) each.call(self, entry, entry.name, this);
  }

  #nameStart(index: number): number {
    return index === 0 ? 0 : this.#nameEnds[index - 1];
  }

  #name(index: number): string {
    return this.#text.substring(this.#nameStart(index), this.#nameEnds[index]);
  }

  #entry(index: number, name: string): E {
    const { dtype, shape } = this.#kindList[this.#kinds[index]];
    const [begin, end] = [this.#begins[index], this.#ends[index]];
    const { file } = this;
    return (file === undefined
      ? { name, dtype, shape, begin, end }
      : { name, dtype, shape, begin, end, file }) as TensorEntry as E;
  }

  #find(name: string): number {
    let slot = this.#slotOf(name, 0, name.length);
    for (let steps = 0; steps <= this.#steps; steps++) {
      const index = this.#slots[slot] - 1;
      if (index < 0 || this.#hasName(index, name, 0, name.length)) return index;
      slot = (slot + 1) & (this.#slots.length - 1);
    }
    return -1;
  }

  #hasName(index: number, text: string, from: number, to: number): boolean {
    const start = this.#nameStart(index);
    if (this.#nameEnds[index] - start !== to - from) return false;
    for (let at = from; at < to; at++)
      if (this.#text.charCodeAt(start + at - from) !== text.charCodeAt(at)) return false;
    return true;
  }

  #slotOf(text: string, from: number, to: number): number {
    let hash = this.#seed;
    for (let at = from; at < to; at++) {
      hash = Math.imul(hash ^ text.charCodeAt(at), 0x9e3779b1);
      hash ^= hash >>> 15;
    }
    return (hash ^ (hash >>> 7)) & (this.#slots.length - 1);
  }
}
