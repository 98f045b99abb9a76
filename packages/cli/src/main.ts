import type { FileSystem } from '@q/durable-files';
import { Command, CommanderError } from 'commander';
import type { CallContext } from './called-command.js';
import type { CommandEntry } from './command.js';
import { commandGroups, commands } from './commands.js';
import { createTerminal, type Streams, type Terminal } from './terminal.js';
import { version } from './version.js';

/**
 * Runs the command line. The help of `q` loads only the list of commands, and each command loads its code when it is
 * called: most need little, and start quickly.
 * @param files the file system for outputs; the machine's own when absent
 * @returns the exit code: 0, 1 after any error, 130 when interrupted
 */
export async function main(
  argv: readonly string[],
  streams: Streams,
  signal: AbortSignal,
  files?: FileSystem,
): Promise<number> {
  const terminal = createTerminal(streams);
  try {
    const program = await createProgram(streams, argv, { terminal, signal, ...(files ? { files } : {}) });
    await program.parseAsync(argv as string[], { from: 'user' });
    return 0;
  } catch (error) {
    // With `--json` a script finds one object on standard output in every case.
    return fail(error, argv, terminal, signal);
  }
}

async function createProgram(streams: Streams, argv: readonly string[], call: CallContext): Promise<Command> {
  const program = new Command('q');
  program
    .description('Makes language models smaller: plan, quantize, evaluate, inspect.')
    .version(version)
    .exitOverride()
    .configureOutput({ writeOut: (text) => streams.out.write(text), writeErr: (text) => streams.err.write(text) })
    .showSuggestionAfterError()
    .enablePositionalOptions();
  const called = calledEntry(argv);
  const groups = new Map<string, Command>();
  for (const entry of commands) {
    const [first, second] = entry.name.split(' ');
    let parent = program;
    if (second !== undefined) {
      parent = groups.get(first) ?? program.command(first).description(commandGroups[first]);
      groups.set(first, parent);
    }
    const made = parent.command(second ?? first).description(entry.summary);
    for (const [argument, help] of entry.arguments) made.argument(argument, help);
    if (entry === called) {
      const { addCalledCommand } = await import('./called-command.js');
      await addCalledCommand(made, entry, argv, call);
    }
    // The list of commands shows `[options]` for commands with options.
    else made.option('--use <module>');
  }
  return program;
}

/** The command of a command line, or of a request for its help; undefined when there is none of that name. */
function calledEntry(argv: readonly string[]): CommandEntry | undefined {
  const [first, second, third] = argv.filter((word) => !word.startsWith('-'));
  const words = first === 'help' ? [second, third] : [first, second];
  return commands.find(({ name }) => name === words[0] || name === words.join(' '));
}

async function fail(error: unknown, argv: readonly string[], terminal: Terminal, signal: AbortSignal): Promise<number> {
  terminal.done();
  const json = argv.includes('--json');
  if (error instanceof CommanderError) {
    if (json && error.exitCode !== 0) terminal.printJson({ error: error.message.replace(/^error: /, '') });
    return error.exitCode;
  }
  if (signal.aborted) {
    const { InterruptedError } = await import('./interrupted-error.js');
    terminal.note(
      error instanceof InterruptedError
        ? error.message
        : `Interrupted.${calledEntry(argv)?.resumes ? ' The same command goes on where this one stopped.' : ''}`,
    );
    if (json) terminal.printJson({ error: 'interrupted' });
    return 130;
  }
  const text = await message(error);
  terminal.note(`error: ${text}`);
  if (process.env.Q_DEBUG) terminal.note((error as Error).stack ?? '');
  if (json) terminal.printJson({ error: text });
  return 1;
}

/** The message for the user. An error of another class is a defect: it says so, without a stack trace. */
async function message(error: unknown): Promise<string> {
  const { isQuantError } = await import('@q/core');
  if (isQuantError(error)) return error.message;
  const text = error instanceof Error ? error.message : String(error);
  const { code, syscall } = (error as NodeJS.ErrnoException | undefined) ?? {};
  if (syscall === 'uv_cwd') return 'the current folder does not exist any more: change into another one';
  return code ? text : `unexpected: ${text} (set Q_DEBUG=1 to see where)`;
}
