import { afterAll, expect, it } from 'vitest';
import { fuzz } from './fuzz.js';
import { parsers } from './parsers/index.js';
import { firstCase, onceFound, shortRun } from './seeds.js';

const all = parsers();
afterAll(async () => {
  for (const parser of all) await parser.close?.();
});

it.each(all.map((parser) => [parser.name, parser] as const))(
  '%s reads or refuses whatever comes',
  async (name, parser) => {
    const { findings, read, refused } = await fuzz(parser, firstCase, shortRun);
    expect(findings).toEqual([]);
    // Mutations that all fail at the first byte, or change nothing, would test nothing.
    expect(Math.min(read, refused)).toBeGreaterThan(shortRun / 100);
    for (const number of onceFound.get(name) ?? []) expect((await fuzz(parser, number, 1)).findings).toEqual([]);
  },
);
