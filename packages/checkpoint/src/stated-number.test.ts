import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FormatError } from '@q/core';
import { expect, it } from 'vitest';
import { bitsandbytesInt8Layout, gptqLayout, readSentenceModules } from './index.js';
import { statedNumber } from './stated-number.js';

/** JSON gives objects such members, and JavaScript asks for them when an object should become a number or a text. */
const awkward = JSON.parse('{"toString": 1, "valueOf": 2}');

it('is a number, or what a text says, and nothing else', () => {
  expect([4, '4', ' 4 ', 0.5].map(statedNumber)).toEqual([4, 4, 4, 0.5]);
  for (const value of [awkward, {}, [], [4], null, undefined, true, '', ' ', 'four'])
    expect(statedNumber(value)).toBe(Number.NaN);
});

it('is asked for where configs of layouts state numbers', () => {
  expect(() => gptqLayout().reader({ quant_method: 'gptq', bits: awkward })).toThrow(FormatError);
  const int8 = { quant_method: 'bitsandbytes', load_in_8bit: true, llm_int8_threshold: awkward };
  expect(() => bitsandbytesInt8Layout().reader(int8)).toThrow(FormatError);
});

it.each(['[null]', '[{"type": {"toString": 1}}]', '[{"type": "a.Pooling", "path": 3}]'])(
  'modules.json %s is refused',
  async (text) => {
    const folder = await mkdtemp(join(tmpdir(), 'q-modules-'));
    try {
      await writeFile(join(folder, 'modules.json'), text);
      await expect(readSentenceModules(folder)).rejects.toThrow(FormatError);
    } finally {
      await rm(folder, { recursive: true });
    }
  },
);
