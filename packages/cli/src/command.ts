import type { NamedParts, Option, OptionRecord, OptionValues } from '@q/core';
import type { FileSystem } from '@q/durable-files';
import { notAllowed, type Vocabulary } from '@q/pipeline';
import { type Command, Option as Flag } from 'commander';
import type { Terminal } from './terminal.js';
import { UsageError } from './usage-error.js';

/** Values of flags by key, in the form of a recipe. */
export type FlagValues = Readonly<Record<string, unknown>>;

/** The context of a command, in addition to its own arguments and options. */
export interface CommandContext {
  readonly terminal: Terminal;
  readonly signal: AbortSignal;
  /** The built-in parts, and those of `--use`. */
  readonly vocabulary: Vocabulary;
  /** The file system for outputs. */
  readonly files: FileSystem;
}

/** A command's entry in the help of `q`. The help loads nothing else of the command. */
export interface CommandEntry {
  /** The words after `q`: `quantize`, `engine list`. */
  readonly name: string;
  readonly summary: string;
  /** `<model>`, `[out]`, with help. */
  readonly arguments: readonly (readonly [name: string, help: string])[];
  /** After an interruption the same call goes on. */
  readonly resumes?: true;
  /** Loads its options and its code. */
  load(): Promise<CommandDeclaration>;
}

/**
 * One command, in one file: its options and its code. Flags, help and checks are derived from the options. `run`
 * imports the modules that it needs: most commands need few, and start quickly.
 */
export interface CommandDeclaration<S extends OptionRecord = any> {
  readonly options: S;
  /** Adds flags that are not declared as options: those of recipes, which come from methods. */
  flags?(command: Command, vocabulary: Vocabulary): void;
  /**
   * @param options also has the values of the flags that {@link CommandDeclaration.flags} added, as commander read them
   */
  run(args: readonly string[], options: OptionValues<S> & FlagValues, context: CommandContext): Promise<unknown>;
}

/** Gives the options of a declaration their type. */
export const command = <S extends OptionRecord>(declaration: CommandDeclaration<S>): CommandDeclaration<S> =>
  declaration;

/** `refineRounds` -> `--refine-rounds` */
export const flagOf = (key: string): string => `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

export interface FlagSettings {
  /** Heading of the flag in the help. */
  readonly group?: string;
  /** Other declarations of the same key, by other methods: a value is allowed if one of them allows it. */
  readonly others?: readonly Option<any>[];
  /** Text after the help; the default when absent. */
  readonly note?: string;
  readonly hidden?: boolean;
}

/**
 * Adds the flags of one option to a command: `--name <value>`, or `--name` and `--no-name` for a boolean. The value
 * that commander keeps has the form of a recipe.
 */
export function addFlag(
  to: Command,
  key: string,
  option: Option<any>,
  parts: NamedParts,
  settings: FlagSettings = {},
): void {
  const flag = flagOf(key);
  // A flag of the command itself replaces a recipe's option of the same name.
  if (to.options.some(({ long }) => long === flag)) return;
  const { group, note = defaultNote(option), others = [], hidden = false } = settings;
  const help = option.help[0].toLowerCase() + option.help.slice(1).replace(/\.$/, '');
  const text = `${help}${choicesOf(option, parts)}${note}`;
  const add = (made: Flag) => {
    if (group) made.helpGroup(group);
    if (hidden) made.hideHelp();
    to.addOption(made);
  };
  if (option.type === 'boolean') {
    add(
      new Flag(
        flag,
        option.default === true ? `${text.replace(/\)$/, '')}; ${flag.replace('--', '--no-')} turns it off)` : text,
      ),
    );
    to.addOption(new Flag(flag.replace('--', '--no-'), option.help).hideHelp());
    return;
  }
  add(
    new Flag(`${flag} <${option.placeholder}>`, text).argParser((word) =>
      parseFlag(flag, word, [option, ...others], parts),
    ),
  );
}

/** @throws UsageError naming the flag, its value and what was expected */
export function parseFlag(flag: string, word: string, options: readonly Option<any>[], parts: NamedParts): unknown {
  for (const option of options) {
    const value = option.parse(word);
    if (option.resolve(value, parts) !== undefined) return value;
  }
  const [{ expected, names }] = options;
  throw new UsageError(notAllowed(flag, word, expected, names?.(parts)));
}

/** ` (default: 4)`, or an empty text. */
export function defaultNote(option: Option<any>): string {
  const shown = option.default === undefined ? option.otherwise : option.show(option.default);
  return shown === undefined || shown === 'false' ? '' : ` (default: ${shown})`;
}

function choicesOf(option: Option<any>, parts: NamedParts): string {
  const names = option.type === 'choice' || option.type === 'object' ? option.names?.(parts) : undefined;
  return names && names.length > 0 ? `: ${names.join(', ')}` : '';
}
