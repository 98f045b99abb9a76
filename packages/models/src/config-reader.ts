import { type Activation, FormatError, SchemeError } from '@q/core';

/** Values of `hidden_act` and `activation_function`, with their names in transformers. */
const activations: Readonly<Record<string, Activation>> = {
  relu: 'relu',
  silu: 'silu',
  swish: 'silu',
  gelu: 'gelu',
  gelu_new: 'geluTanh',
  gelu_pytorch_tanh: 'geluTanh',
  gelu_fast: 'geluTanh',
};

/**
 * Reads a `config.json`. Every method throws a {@link SchemeError} that names the key, what was found and what was
 * expected; `refuseAsInvalid` a {@link FormatError}. A default replaces a key that is absent or null.
 */
export class ConfigReader {
  constructor(
    private readonly config: Readonly<Record<string, unknown>>,
    private readonly where = 'config.json',
  ) {}

  has(key: string): boolean {
    return this.config[key] !== undefined && this.config[key] !== null;
  }

  keys(): readonly string[] {
    return Object.keys(this.config);
  }

  positiveInteger(key: string, absent?: number): number {
    const value = this.number(key, absent);
    if (!Number.isInteger(value) || value < 1) this.refuse(key, 'a positive integer is needed');
    return value;
  }

  number(key: string, absent?: number): number {
    return this.typed(key, 'number', absent);
  }

  boolean(key: string, absent?: boolean): boolean {
    return this.typed(key, 'boolean', absent);
  }

  string(key: string, absent?: string): string {
    return this.typed(key, 'string', absent);
  }

  activation(key: string, absent: string): Activation {
    const name = this.string(key, absent);
    const known = Object.keys(activations);
    if (!known.includes(name)) this.refuse(key, `known activations are ${known.join(', ')}`);
    return activations[name]!;
  }

  strings(key: string): readonly string[] | undefined {
    const value = this.config[key];
    if (value === undefined || value === null) return undefined;
    if (!Array.isArray(value) || !value.every((item) => typeof item === 'string')) {
      this.refuse(key, 'a list of strings is needed');
    }
    return value;
  }

  integers(key: string): readonly number[] | undefined {
    const value = this.config[key];
    if (value === undefined || value === null) return undefined;
    if (!Array.isArray(value) || !value.every(Number.isInteger)) this.refuse(key, 'a list of whole numbers is needed');
    return value;
  }

  numbers(key: string): readonly number[] | undefined {
    const value = this.config[key];
    if (value === undefined || value === null) return undefined;
    if (!Array.isArray(value) || !value.every((item) => typeof item === 'number'))
      this.refuse(key, 'a list of numbers is needed');
    return value;
  }

  /**
   * The config of the language model: this one, or the part `text_config` of a larger model's, which ties its
   * embeddings if the whole config says so.
   */
  textPart(): ConfigReader {
    if (!this.has('text_config')) return this;
    const tied = this.config['tie_word_embeddings'];
    const part = this.object('text_config');
    return new ConfigReader(
      { ...part.config, ...(typeof tied === 'boolean' ? { tie_word_embeddings: tied } : {}) },
      part.where,
    );
  }

  /** The same config with some keys absent. */
  without(...keys: readonly string[]): ConfigReader {
    return new ConfigReader(
      Object.fromEntries(Object.entries(this.config).filter(([key]) => !keys.includes(key))),
      this.where,
    );
  }

  /** The object under `key`, or an empty one. */
  object(key: string): ConfigReader {
    const value = this.config[key] ?? {};
    if (typeof value !== 'object' || Array.isArray(value)) this.refuse(key, 'an object is needed');
    return new ConfigReader(value as Record<string, unknown>, `${this.where}: ${key}`);
  }

  /** Refuses every value except the given ones; an absent key is accepted. */
  only(key: string, allowed: readonly unknown[], why: string): void {
    if (this.has(key) && !allowed.includes(this.config[key])) this.refuse(key, why);
  }

  refuse(key: string, why: string): never {
    throw new SchemeError(this.refusal(key, why));
  }

  /** Refuses a value that no program can run, so that methods which never run the model do not take it either. */
  refuseAsInvalid(key: string, why: string): never {
    throw new FormatError(this.refusal(key, why));
  }

  private refusal(key: string, why: string): string {
    return `${this.where}: "${key}" is ${JSON.stringify(this.config[key]) ?? 'absent'}: ${why}`;
  }

  private typed<V extends number | boolean | string>(key: string, type: string, absent: V | undefined): V {
    if (this.has(key)) {
      if (typeof this.config[key] !== type) this.refuse(key, `a ${type} is needed`);
      return this.config[key] as V;
    }
    if (absent === undefined) throw new SchemeError(`${this.where} has no "${key}": a ${type} is needed`);
    return absent;
  }
}
