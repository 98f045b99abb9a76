import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { TensorEntry } from './header.js';
import { TensorTable } from './tensor-table.js';

function tableOf(names: readonly string[], file?: string): { table: TensorTable; unique: boolean } {
  const bytes = new TextEncoder().encode(names.join(''));
  const table = new TensorTable({ tensors: names.length, nameBytes: bytes.length }, file);
  const shapes = [[2, 3], [6]];
  let at = 0;
  for (const [index, name] of names.entries()) {
    const shape = shapes[index % 2] as number[];
    table.add(bytes, at, at + name.length, { dtype: 'F32', shape, begin: 24 * index, end: 24 * index + 24 });
    at += name.length;
  }
  return { table, unique: table.finish() };
}

it('answers as a Map does', () => {
  const name = fc.string({ unit: 'binary-ascii', maxLength: 40 });
  fc.assert(
    fc.property(fc.uniqueArray(name, { maxLength: 60 }), fc.array(name, { maxLength: 20 }), (names, others) => {
      const { table, unique } = tableOf(names, 'a.safetensors');
      expect(unique).toBe(true);
      const map = new Map<string, TensorEntry>(
        names.map((each, index) => [
          each,
          {
            ...{ name: each, dtype: 'F32', shape: index % 2 === 0 ? [2, 3] : [6] },
            ...{ begin: 24 * index, end: 24 * index + 24, file: 'a.safetensors' },
          } as TensorEntry,
        ]),
      );
      expect(table.size).toBe(map.size);
      expect([...table]).toEqual([...map]);
      expect([...table.keys()]).toEqual([...map.keys()]);
      expect([...table.values()]).toEqual([...map.values()]);
      const seen: [string, TensorEntry][] = [];
      table.forEach((entry, each) => {
        seen.push([each, entry]);
      });
      expect(seen).toEqual([...map]);
      for (const each of [...names, ...others, 'é', '__proto__']) {
        expect(table.has(each)).toBe(map.has(each));
        expect(table.get(each)).toEqual(map.get(each));
      }
      expect(table.touch(0, 24 * names.length)).toBe(true);
      expect(table.touch(0, 24 * names.length + 1)).toBe(false);
    }),
  );
});

it('finds names that are there twice', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: 'binary-ascii', maxLength: 2 }), { maxLength: 30 }), (names) => {
      expect(tableOf(names).unique).toBe(new Set(names).size === names.length);
    }),
  );
});

it('gives up names that share a slot, instead of comparing each with all', () => {
  // What a file would need to know of the drawn number, here without luck.
  const random = Math.random;
  const imul = Math.imul;
  Math.random = () => 0;
  Math.imul = () => 0;
  try {
    expect(tableOf(Array.from({ length: 900 }, (_, index) => `tensor ${index}`)).unique).toBe(true);
    expect(tableOf(Array.from({ length: 1100 }, (_, index) => `tensor ${index}`)).unique).toBe(false);
  } finally {
    Math.random = random;
    Math.imul = imul;
  }
});
