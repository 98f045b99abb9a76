/** JSON Schema of one value, which editors read for completion. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/** Lists of declarations by kind (`fits`); a value of an option can be a name from such a list. */
export type NamedParts = Readonly<Record<string, readonly Declaration<any>[]>>;

/**
 * One option of a method, layout or command. The toolkit derives from it a flag, a key of a recipe, the help, the JSON
 * Schema, a row of the documentation and the check of the library's own argument. `integer`, `number`, `boolean`,
 * `choice`, `text`, `list`, `choiceOf` and `named` make options.
 */
export interface Option<T = unknown> {
  readonly type: 'integer' | 'number' | 'boolean' | 'choice' | 'text' | 'list' | 'object';
  /** One plain sentence. */
  readonly help: string;
  /** The value that is used when none is given. */
  readonly default?: T;
  /** Describes the value that is used when none is given, if `default` cannot express it. */
  readonly otherwise?: string;
  /** Allowed values in words: `a whole number from 0 to 100`. */
  readonly expected: string;
  /** The placeholder of the value in help: `n`, `file`. */
  readonly placeholder: string;
  /** False for an option that only code can set, because its values have no text form. */
  readonly named: boolean;
  /** Allowed names, for suggestions. */
  readonly names?: (parts: NamedParts) => readonly string[];
  readonly schema: (parts: NamedParts) => JsonSchema;
  /** Whether a value from code is allowed. */
  accepts(value: unknown): value is T;
  /** Turns a word of the command line into the value of a recipe. Returns a word that it cannot read as it is. */
  parse(text: string): unknown;
  /** The value for a recipe's value, or undefined when it is not allowed. */
  resolve(value: unknown, parts: NamedParts): T | undefined;
  /** A value in the form of a recipe, for help and documentation. */
  show(value: T): string;
}

/** Options by name. */
export type OptionRecord = Readonly<Record<string, Option<any>>>;

type ValueOf<O> = O extends Option<infer T> ? T : never;

/** The argument of a factory: any of the options. */
export type OptionValues<S extends OptionRecord> = { readonly [K in keyof S]?: ValueOf<S[K]> };

/** The options with all defaults filled in. */
export type OptionSettings<S extends OptionRecord> = {
  readonly [K in keyof S]: S[K] extends { readonly default: unknown } ? ValueOf<S[K]> : ValueOf<S[K]> | undefined;
};

/** A part that a command or a recipe can name, with its options: a fit, a layout, a transform. */
export interface Declaration<T, S extends OptionRecord = any> {
  /** Unique among its kind: `weightedSearch`, `gptq`. */
  readonly name: string;
  /** One plain sentence for help and documentation. */
  readonly summary: string;
  readonly options: S;
  make(options: OptionValues<S>): T;
}
