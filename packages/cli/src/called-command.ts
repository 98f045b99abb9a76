import type { OptionRecord } from '@q/core';
import { type FileSystem, nodeFiles } from '@q/durable-files';
import { namedParts, type Vocabulary } from '@q/pipeline';
import type { Command } from 'commander';
import { addFlag, type CommandContext, type CommandEntry } from './command.js';
import { builtin } from './registry.js';
import type { Terminal } from './terminal.js';
import { UsageError } from './usage-error.js';
import { useModules } from './use-modules.js';

/** The context of the command, before its vocabulary is known. */
export interface CallContext {
  readonly terminal: Terminal;
  readonly signal: AbortSignal;
  /** The file system for outputs; the machine's own when absent. */
  readonly files?: FileSystem;
}

/**
 * Adds to a command the flags of its options, `--use`, and the action. The modules of `--use` are loaded first, because
 * they add flags.
 * @throws UsageError naming a module that cannot be found or loaded
 */
export async function addCalledCommand(
  made: Command,
  { load, arguments: taken }: CommandEntry,
  argv: readonly string[],
  call: CallContext,
): Promise<void> {
  const vocabulary: Vocabulary = await useModules(argv, builtin);
  const context: CommandContext = { ...call, files: call.files ?? nodeFiles, vocabulary };
  const declaration = await load();
  for (const [key, option] of Object.entries(declaration.options as OptionRecord))
    addFlag(made, key, option, namedParts(vocabulary));
  declaration.flags?.(made, vocabulary);
  made
    .option(
      '--use <module>',
      'module with methods, layouts or other parts of your own: an npm name or a path; may be repeated',
      (module: string, before: readonly string[] = []) => [...before, module],
    )
    .action(async (...all: unknown[]) => {
      const count = taken.length;
      for (const [index, [argument]] of taken.entries())
        if (all[index] === '') throw new UsageError(`${argument}: is empty: ${taken[index][1]} was expected`);
      await declaration.run(all.slice(0, count) as string[], all[count] as Record<string, unknown>, context);
    });
}
