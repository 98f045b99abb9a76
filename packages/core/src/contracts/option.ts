/** JSON Schema of one value, as editors read it for completion. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/** Lists of declarations by kind (`fits`), in which an option's value can be named. */
export type NamedParts = Readonly<Record<string, readonly Declaration<any>[]>>;

/**
 * One option of a method, layout or command. A flag, a key of a recipe, the help, the JSON Schema, a row of the
 * documentation and the check of the library's own argument are all derived from it. Made by `integer`, `number`,
 * `boolean`, `choice`, `text`, `list`, `choiceOf` and `named`.
 */
export interface Option<T = unknown> {
  readonly type: 'integer' | 'number' | 'boolean' | 'choice' | 'text' | 'list' | 'object';
  /** One plain sentence. */
  readonly help: string;
  /** The value that is used when none is given. */
  readonly default?: T;
  /** Says in words what is used when none is given and `default` cannot say it. */
  readonly otherwise?: string;
  /** Allowed values in words: `a whole number from 0 to 100`. */
  readonly expected: string;
  /** What stands for the value in help: `n`, `file`. */
  readonly placeholder: string;
  /** False for an option that only code can set, because no text stands for its values. */
  readonly named: boolean;
  /** Names that are allowed, for suggestions. */
  readonly names?: (parts: NamedParts) => readonly string[];
  readonly schema: (parts: NamedParts) => JsonSchema;
  /** Whether a value that code hands over is allowed. */
  accepts(value: unknown): value is T;
  /** A word of the command line as the value that a recipe would hold. What cannot be read is returned as it is. */
  parse(text: string): unknown;
  /** The value that a recipe's value stands for, or undefined when it is not allowed. */
  resolve(value: unknown, parts: NamedParts): T | undefined;
  /** A value as a recipe would hold it, for help and documentation. */
  show(value: T): string;
}

/** Options by name. */
export type OptionRecord = Readonly<Record<string, Option<any>>>;

type ValueOf<O> = O extends Option<infer T> ? T : never;

/** What code hands over: any of the options. */
export type OptionValues<S extends OptionRecord> = { readonly [K in keyof S]?: ValueOf<S[K]> };

/** The options after their defaults were filled in. */
export type OptionSettings<S extends OptionRecord> = {
  readonly [K in keyof S]: S[K] extends { readonly default: unknown } ? ValueOf<S[K]> : ValueOf<S[K]> | undefined;
};

/** Something that a command or a recipe can name, and the options that it is made from: a fit, a layout, a transform. */
export interface Declaration<T, S extends OptionRecord = any> {
  /** Unique among its kind: `weightedSearch`, `gptq`. */
  readonly name: string;
  /** One plain sentence for help and documentation. */
  readonly summary: string;
  readonly options: S;
  make(options: OptionValues<S>): T;
}
