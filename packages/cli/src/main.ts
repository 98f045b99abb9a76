import { isQuantError, type OptionRecord } from '@q/core';
import { type FileSystem, nodeFiles } from '@q/durable-files';
import { namedParts, type Vocabulary } from '@q/pipeline';
import { Command, CommanderError } from 'commander';
import { addFlag, type CommandContext, type CommandDeclaration } from './command.js';
import { commandGroups, commands } from './commands.js';
import { InterruptedError } from './interrupted-error.js';
import { builtin } from './registry.js';
import { createTerminal, type Streams, type Terminal } from './terminal.js';
import { useModules } from './use-modules.js';
import { version } from './version.js';

/**
 * Runs the command line. Each command loads what it needs when it is called: most of them need little, and start at once.
 * @param files that outputs are written through; the machine's own when absent
 * @returns the exit code: 0, 1 for anything that went wrong, 130 when interrupted
 */
export async function main(
  argv: readonly string[],
  streams: Streams,
  signal: AbortSignal,
  files: FileSystem = nodeFiles,
): Promise<number> {
  const terminal = createTerminal(streams);
  try {
    const vocabulary = await useModules(argv, builtin);
    const program = createProgram(streams, { terminal, signal, vocabulary, files });
    await program.parseAsync(argv as string[], { from: 'user' });
    return 0;
  } catch (error) {
    // A script that asked for JSON finds one object on standard output whatever happens.
    return fail(error, terminal, signal, argv.includes('--json'));
  }
}

function createProgram(streams: Streams, context: CommandContext): Command {
  const program = new Command('q');
  program
    .description('Makes language models smaller: plan, quantize, evaluate, inspect.')
    .version(version)
    .exitOverride()
    .configureOutput({ writeOut: (text) => streams.out.write(text), writeErr: (text) => streams.err.write(text) })
    .showSuggestionAfterError()
    .enablePositionalOptions();
  const groups = new Map<string, Command>();
  for (const declaration of commands) {
    const [first, second] = declaration.name.split(' ');
    if (second === undefined) addCommand(program, first, declaration, context);
    else {
      const group = groups.get(first) ?? program.command(first).description(commandGroups[first]);
      groups.set(first, group);
      addCommand(group, second, declaration, context);
    }
  }
  return program;
}

/** Adds a declared command, with the flags of its options and `--use`. */
function addCommand(to: Command, name: string, declaration: CommandDeclaration, context: CommandContext): void {
  const { vocabulary }: { vocabulary: Vocabulary } = context;
  const made = to.command(name).description(declaration.summary);
  for (const [argument, help] of declaration.arguments) made.argument(argument, help);
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
      const count = declaration.arguments.length;
      await declaration.run(all.slice(0, count) as string[], all[count] as Record<string, unknown>, context);
    });
}

function fail(error: unknown, terminal: Terminal, signal: AbortSignal, json: boolean): number {
  terminal.done();
  if (error instanceof CommanderError) {
    if (json && error.exitCode !== 0) terminal.printJson({ error: error.message.replace(/^error: /, '') });
    return error.exitCode;
  }
  if (signal.aborted) {
    terminal.note(
      error instanceof InterruptedError
        ? error.message
        : 'Interrupted. The same command goes on where this one stopped.',
    );
    if (json) terminal.printJson({ error: 'interrupted' });
    return 130;
  }
  const text = message(error);
  terminal.note(`error: ${text}`);
  if (process.env.Q_DEBUG) terminal.note((error as Error).stack ?? '');
  if (json) terminal.printJson({ error: text });
  return 1;
}

/** What a person is told. An error that is not ours is a defect: say so, without a stack trace. */
function message(error: unknown): string {
  if (isQuantError(error)) return error.message;
  const text = error instanceof Error ? error.message : String(error);
  const code = (error as NodeJS.ErrnoException)?.code;
  return code ? text : `unexpected: ${text} (set Q_DEBUG=1 to see where)`;
}
