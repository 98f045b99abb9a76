import { namedParts } from '@q/pipeline';
import { Command } from 'commander';
import { expect, it } from 'vitest';
import { addFlag, type CommandDeclaration } from './command.js';
import { commands } from './commands.js';
import { builtin } from './registry.js';
import { demo } from './testing/demo.js';
import { runCommand } from './testing/run-command.js';

/** Members that every object of JavaScript has: a registry that is asked with `name in object` knows them. */
const inherited = ['constructor', '__proto__', 'toString', 'hasOwnProperty', 'valueOf'];

/** Flags of a command that read what stands behind them. */
const flagsOf = (declaration: CommandDeclaration) => {
  const made = new Command();
  for (const [key, option] of Object.entries(declaration.options))
    addFlag(made, key, option as any, namedParts(builtin));
  declaration.flags?.(made, builtin);
  return made.options.filter(({ parseArg }) => parseArg);
};

const read = (flag: ReturnType<typeof flagsOf>[number], word: string): boolean => {
  try {
    flag.parseArg?.(word, undefined as never);
    return true;
  } catch {
    return false;
  }
};

it.each(commands.map((entry) => [entry.name, entry] as const))(
  'no option of %s that refuses an unknown name takes one that every object has',
  async (_name, entry) => {
    for (const flag of flagsOf(await entry.load())) {
      if (read(flag, 'no such name')) continue;
      for (const word of inherited) expect([flag.long, word, read(flag, word)]).toEqual([flag.long, word, false]);
    }
  },
);

/** Names that are looked up when the command runs. */
it.each([
  ['plan', demo.model, '--method', 'rtn', '--embeddings'],
  ['plan', demo.model, '--method', 'rtn', '--head'],
  ['plan', demo.model, '--method', 'rtn', '--weights'],
  ['plan', demo.model, '--rule'],
  ['gguf', demo.model, '/dev/null/out', '--type'],
  ['gguf', demo.model, '/dev/null/out', '--type', 'q8_0', '--embeddings'],
  ['gguf', demo.model, '/dev/null/out', '--type', 'q8_0', '--output'],
  ['eval', demo.model, '--text', demo.heldOut, '--engine'],
  ['eval', demo.model, '--text', demo.heldOut, '--cache'],
  ['finetune', demo.model, '/dev/null/out', '--text', demo.calibration, '--method'],
  ['engine', 'setup'],
  ['convert', demo.model, '/dev/null/out', '--to'],
  ['cast', demo.model, '/dev/null/out', '--dtype'],
])('%s ... refuses names that every object has', async (...argv) => {
  for (const word of inherited) {
    const { code, out, err } = await runCommand([...argv, word]);
    expect([word, code]).toEqual([word, 1]);
    expect(out).toBe('');
    expect(err).toMatch(/^error: .*/m);
    expect(err).toContain(word);
    expect(err).not.toMatch(/unexpected|\n\s+at |EEXIST|ENOTDIR/);
  }
});
