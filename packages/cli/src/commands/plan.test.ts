import type { Plan, PlannedRow, RowGroup } from '@q/pipeline';
import { expect, it } from 'vitest';
import { planText } from './plan.js';

const row = (name: string, action: PlannedRow['action'] = 'quantize'): PlannedRow => ({
  ...{ name, action, dtype: 'F16', shape: [4, 8], bytesBefore: 64, bytesAfter: 20, kind: 'linears', why: 'rule 1' },
  ...(action === 'quantize' ? { scheme: 'int4 g8', method: 'rtn' } : {}),
});

function groupsOf(rows: readonly PlannedRow[]): readonly RowGroup[] {
  const groups = new Map<string, RowGroup>();
  for (const each of rows) {
    const name = each.name.replace(/\d+/g, '*');
    const { tensors = 0, bytesBefore = 0, bytesAfter = 0 } = groups.get(`${name} ${each.action}`) ?? {};
    groups.set(`${name} ${each.action}`, {
      ...{ ...each, name, first: each.name, tensors: tensors + 1 },
      ...{ bytesBefore: bytesBefore + each.bytesBefore, bytesAfter: bytesAfter + each.bytesAfter },
    });
  }
  return [...groups.values()];
}

const plan = (rows: readonly PlannedRow[]) =>
  ({
    ...{
      rows,
      tensors: rows.length,
      groups: groupsOf(rows),
      modules: new Map(),
      notes: [],
      bytesBefore: 64 * rows.length,
      bytesAfter: 20 * rows.length,
    },
    ...{
      recipe: { layout: { name: 'plain' } },
      bitsPerWeight: 5,
      forecast: { memory: { total: 1e6 }, batch: 1, seconds: 1 },
    },
  }) as unknown as Plan;

it('has a row for every tensor, and one for those that differ in numbers alone where there are thousands', () => {
  const layers = (count: number) =>
    Array.from({ length: count }, (_, i) => [
      row(`layers.${i}.up.weight`),
      row(`layers.${i}.norm.weight`, 'copy'),
    ]).flat();
  const few = planText(plan(layers(3))).split('\n');
  expect(few[0]).toMatch(/^tensor +shape/);
  expect(few.filter((line) => line.startsWith('layers.'))).toHaveLength(6);
  const many = planText(plan([...layers(2000), row('layers.7.up.weight', 'copy')])).split('\n');
  expect(many.filter((line) => line.startsWith('layers.')).map((line) => line.split(/ +/))).toEqual([
    [
      ...['layers.*.up.weight', '2000', '[4,', '8]', 'F16', '128', 'kB', '40.0', 'kB'],
      ...['rtn', 'int4', 'g8', 'rule', '1'],
    ],
    [
      ...['layers.*.norm.weight', '2000', '[4,', '8]', 'F16', '128', 'kB', '40.0', 'kB'],
      ...['as', 'it', 'is', 'rule', '1'],
    ],
    [...['layers.*.up.weight', '1', '[4,', '8]', 'F16', '64', 'B', '20', 'B'], ...['as', 'it', 'is', 'rule', '1']],
  ]);
  expect(few.some((line) => line.endsWith('quantized linears, layout plain'))).toBe(true);
  expect(many).toContain('4001 tensors; those that differ only in numbers are one row, --json has them all');
});
