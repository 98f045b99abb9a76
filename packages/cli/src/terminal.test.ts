import { expect, it } from 'vitest';
import { createTerminal } from './terminal.js';

it('shows names from outside without obeying them', () => {
  const written: string[] = [];
  const stream = { write: (text: string) => written.push(text) };
  const terminal = createTerminal({ out: stream, err: stream });
  const name = 'layer\u001b[2J\u001b]0;title\u0007\r\u009b1A\u202e';
  terminal.print(`a\t${name}\nb`);
  terminal.note(name);
  terminal.logger.warn(name);
  terminal.progress({ task: 'quantize', done: 1, total: 2, note: name });
  terminal.printJson({ name });
  expect(written).toHaveLength(5);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: none may be there
  for (const text of written) expect(text).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202e]/);
  expect(written[0]).toBe('a\tlayer\\u001b[2J\\u001b]0;title\\u0007\\u000d\\u009b1A\\u202e\nb\n');
  expect(JSON.parse(written[4])).toEqual({ name });
});

it('prints parts no sooner than the reader takes them', async () => {
  const written: string[] = [];
  const waiting: (() => void)[] = [];
  const out = {
    write: (text: string) => {
      written.push(text);
      return written.length % 2 === 0;
    },
    once: (_event: string, listener: () => void) => waiting.push(listener),
  };
  const printed = createTerminal({ out, err: out }).printParts(['a', '\u001b', 'c']);
  await new Promise((go) => setTimeout(go, 5));
  expect(written).toEqual(['a']);
  waiting.shift()?.();
  await new Promise((go) => setTimeout(go, 5));
  expect(written).toEqual(['a', '\\u001b', 'c']);
  waiting.shift()?.();
  await printed;
});
