import { SchemeError } from '@q/core';

/**
 * Reads a model's `config.json` for the conversion. Every error names the key, what was found and what was expected.
 */
export class ModelConfig {
  constructor(
    /** Of the model, for messages. */
    readonly name: string,
    readonly json: Readonly<Record<string, unknown>>,
  ) {}

  has(key: string): boolean {
    return this.json[key] !== undefined && this.json[key] !== null;
  }

  /** The number under the first existing key. */
  number(keys: string | readonly string[], absent?: number): number {
    return this.#typed(keys, 'number', absent);
  }

  boolean(key: string, absent: boolean): boolean {
    return this.#typed(key, 'boolean', absent);
  }

  string(key: string, absent: string): string {
    return this.#typed(key, 'string', absent);
  }

  strings(key: string): readonly string[] | undefined {
    const value = this.json[key];
    if (value === undefined || value === null) return undefined;
    if (Array.isArray(value) && value.every((item) => typeof item === 'string')) return value;
    return this.refuse(key, 'a list of strings is needed');
  }

  numbers(key: string): readonly number[] | undefined {
    const value = this.json[key];
    if (value === undefined || value === null) return undefined;
    if (Array.isArray(value) && value.every((item) => typeof item === 'number')) return value;
    return this.refuse(key, 'a list of numbers is needed');
  }

  /** The object under `key`, or an empty one. */
  object(key: string): ModelConfig {
    const value = this.json[key] ?? {};
    if (typeof value !== 'object' || Array.isArray(value)) this.refuse(key, 'an object is needed');
    return new ModelConfig(`${this.name}: ${key}`, value as Record<string, unknown>);
  }

  refuse(key: string, why: string): never {
    throw new SchemeError(`${this.name}: "${key}" is ${JSON.stringify(this.json[key]) ?? 'absent'}: ${why}`);
  }

  #typed<V extends number | boolean | string>(keys: string | readonly string[], type: string, absent?: V): V {
    const all = typeof keys === 'string' ? [keys] : keys;
    const key = all.find((each) => this.has(each));
    if (key !== undefined) {
      if (typeof this.json[key] !== type) this.refuse(key, `a ${type} is needed`);
      return this.json[key] as V;
    }
    if (absent === undefined) throw new SchemeError(`${this.name} has no "${all.join('" or "')}": a ${type} is needed`);
    return absent;
  }
}

/**
 * The settings of rotary positions in a config, in the form of transformers 5 (`rope_parameters`) or 4
 * (`rope_scaling`).
 */
export interface RopeSettings {
  readonly type: string;
  readonly theta: number;
  readonly scaling: ModelConfig;
}

/** @param layers `full_attention` or `sliding_attention`, for configs with settings for each of them */
export function ropeSettings(config: ModelConfig, absentTheta = 10000, layers = 'full_attention'): RopeSettings {
  const all = config.object(config.has('rope_parameters') ? 'rope_parameters' : 'rope_scaling');
  const scaling = all.has(layers) ? all.object(layers) : all;
  const type = scaling.string(scaling.has('rope_type') ? 'rope_type' : 'type', 'default');
  return { type, scaling, theta: scaling.number('rope_theta', config.number('rope_theta', absentTheta)) };
}
