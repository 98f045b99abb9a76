import type { PlannedRow } from './plan.js';

/** Rows of a plan whose names differ only in numbers. */
export interface RowGroup extends PlannedRow {
  /** The name with a `*` for each number. */
  readonly name: string;
  /** Name of the first row of the group. */
  readonly first: string;
  /** Number of tensors in the group. */
  readonly tensors: number;
}

interface OpenGroup {
  readonly row: PlannedRow;
  tensors: number;
  bytesBefore: number;
  bytesAfter: number;
}

/**
 * Sums up rows by group. A model may have hundreds of thousands of tensors of a few kinds. The plan describes the
 * groups, and no row is kept.
 */
export class RowGroups {
  readonly #groups: OpenGroup[] = [];
  readonly #byHash = new Map<number, OpenGroup[]>();

  add(row: PlannedRow): void {
    const hash = hashButNumbers(row.name);
    const candidates = this.#byHash.get(hash);
    for (const group of candidates ?? []) {
      if (!alike(group.row, row)) continue;
      group.tensors++;
      group.bytesBefore += row.bytesBefore;
      group.bytesAfter += row.bytesAfter;
      return;
    }
    const { bytesBefore, bytesAfter } = row;
    const group = { row, tensors: 1, bytesBefore, bytesAfter };
    this.#groups.push(group);
    if (candidates) candidates.push(group);
    else this.#byHash.set(hash, [group]);
  }

  /** The groups, in the order of their first rows. */
  all(): readonly RowGroup[] {
    return this.#groups.map(({ row, tensors, bytesBefore, bytesAfter }) => ({
      ...row,
      ...{ name: row.name.replace(/\d+/g, '*'), first: row.name, tensors, bytesBefore, bytesAfter },
    }));
  }
}

function alike(a: PlannedRow, b: PlannedRow): boolean {
  return (
    a.dtype === b.dtype &&
    a.action === b.action &&
    a.kind === b.kind &&
    a.method === b.method &&
    a.scheme === b.scheme &&
    a.why === b.why &&
    a.shape.length === b.shape.length &&
    a.shape.every((size, axis) => size === b.shape[axis]) &&
    sameButNumbers(a.name, b.name)
  );
}

const isDigit = (code: number): boolean => code >= 48 && code <= 57;

/** Hash of a text with one mark for each number in it. */
function hashButNumbers(text: string): number {
  let hash = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (isDigit(code)) {
      if (at > 0 && isDigit(text.charCodeAt(at - 1))) continue;
      hash = Math.imul(hash ^ 42, 0x01000193);
    } else hash = Math.imul(hash ^ code, 0x01000193);
  }
  return hash;
}

/** Whether two names are equal if each of their numbers is replaced with a `*`. */
export function sameButNumbers(a: string, b: string): boolean {
  let [i, j] = [0, 0];
  while (i < a.length && j < b.length) {
    const [one, other] = [a.charCodeAt(i), b.charCodeAt(j)];
    if (isDigit(one) && isDigit(other)) {
      do i++;
      while (i < a.length && isDigit(a.charCodeAt(i)));
      do j++;
      while (j < b.length && isDigit(b.charCodeAt(j)));
    } else if (one === other) {
      i++;
      j++;
    } else return false;
  }
  return i === a.length && j === b.length;
}
