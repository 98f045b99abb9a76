import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { PlannedRow } from './plan.js';
import { RowGroups, sameButNumbers } from './row-groups.js';

const name = fc.string({ unit: fc.constantFrom('a', '.', '0', '7', '*'), maxLength: 8 });

it('takes names for one that differ in numbers alone', () => {
  const marked = (text: string) => text.replace(/\d+/g, '#');
  fc.assert(
    fc.property(name, name, (a, b) => {
      expect(sameButNumbers(a, b)).toBe(marked(a) === marked(b));
    }),
  );
  expect(sameButNumbers('layers.7.a', 'layers.12.a')).toBe(true);
  expect(sameButNumbers('layers.7', 'layers.7a')).toBe(false);
});

it('sums up what is alike, and nothing else', () => {
  const row = fc.record({
    name,
    action: fc.constantFrom('quantize', 'copy'),
    dtype: fc.constantFrom('F32', 'BF16'),
    shape: fc.constantFrom([2], [2, 3], [3, 2]),
    kind: fc.constantFrom('linears', 'the rest'),
    why: fc.constantFrom('kept', 'rule 1'),
    bytesBefore: fc.nat(100),
    bytesAfter: fc.nat(100),
  }) as fc.Arbitrary<PlannedRow>;
  fc.assert(
    fc.property(fc.array(row, { maxLength: 40 }), (rows) => {
      const groups = new RowGroups();
      for (const each of rows) groups.add(each);
      const sums = new Map<string, [tensors: number, before: number, after: number]>();
      for (const { name: own, action, dtype, shape, kind, why, bytesBefore, bytesAfter } of rows) {
        const key = [own.replace(/\d+/g, '#'), action, dtype, shape, kind, why].join('\n');
        const [tensors, before, after] = sums.get(key) ?? [0, 0, 0];
        sums.set(key, [tensors + 1, before + bytesBefore, after + bytesAfter]);
      }
      expect(groups.all().map((each) => [each.tensors, each.bytesBefore, each.bytesAfter])).toEqual([...sums.values()]);
    }),
  );
});
