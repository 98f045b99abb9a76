import { FormatError, SchemeError } from '@q/core';
import type { ByteSource } from '@q/safetensors';
import type { GgufHeader } from '../header.js';
import type { GgufMetadata } from '../metadata.js';
import { readGgufTensor } from '../read-tensor.js';

/** Tensors that are settings: factors of rotary frequencies. */
const settingTensors = ['rope_freqs.weight', 'rope_factors_long.weight', 'rope_factors_short.weight'];

/**
 * The metadata of a GGUF file about its model. Every error names the file, the key, what was found and what was
 * expected.
 */
export class FileSettings {
  /** `general.architecture` */
  readonly architecture: string;
  readonly #used = new Set<string>();

  private constructor(
    /** Of the file, for messages. */
    readonly name: string,
    readonly header: GgufHeader,
    readonly vectors: ReadonlyMap<string, Float32Array>,
  ) {
    const architecture = header.metadata.get('general.architecture')?.value;
    if (typeof architecture !== 'string')
      throw new FormatError(`${name}: has no general.architecture: it is not a model`);
    this.architecture = architecture;
  }

  /** Reads the tensors that are settings. */
  static async read(source: ByteSource, header: GgufHeader): Promise<FileSettings> {
    const vectors = new Map<string, Float32Array>();
    for (const name of settingTensors) {
      const tensor = header.tensors.get(name);
      if (tensor) vectors.set(name, await readGgufTensor(source, tensor));
    }
    return new FileSettings(source.name, header, vectors);
  }

  get metadata(): GgufMetadata {
    return this.header.metadata;
  }

  has(key: string): boolean {
    return this.metadata.has(`${this.architecture}.${key}`);
  }

  /** A number under `<architecture>.<key>`. */
  number(key: string, absent?: number): number {
    const full = `${this.architecture}.${key}`;
    const found = this.metadata.get(full);
    if (!found) {
      if (absent !== undefined) return absent;
      throw new FormatError(`${this.name}: has no ${full}: a number is needed`);
    }
    const value = typeof found.value === 'bigint' ? Number(found.value) : found.value;
    return typeof value === 'number' ? value : this.refuse(key, 'one number is needed');
  }

  text(key: string, absent: string): string {
    const value = this.metadata.get(`${this.architecture}.${key}`)?.value ?? absent;
    return typeof value === 'string' ? value : this.refuse(key, 'a text is needed');
  }

  flag(key: string, absent: boolean): boolean {
    const value = this.metadata.get(`${this.architecture}.${key}`)?.value ?? absent;
    return typeof value === 'boolean' ? value : this.refuse(key, 'true or false is needed');
  }

  /** Sizes of a tensor, or undefined when there is none. */
  shape(tensor: string): readonly number[] | undefined {
    return this.header.tensors.get(tensor)?.shape;
  }

  /** Values of a tensor that is a setting; it then does not count as a weight. */
  vector(tensor: string): Float32Array | undefined {
    const values = this.vectors.get(tensor);
    if (values) this.#used.add(tensor);
    return values;
  }

  /** Tensors that {@link vector} has returned. */
  get usedVectors(): ReadonlySet<string> {
    return this.#used;
  }

  refuse(key: string, why: string): never {
    const full = `${this.architecture}.${key}`;
    const found = this.metadata.get(full);
    const shown = found?.type === 'array' ? `a list of ${found.value.length}` : String(found?.value ?? 'absent');
    throw new SchemeError(`${this.name}: ${full} is ${shown}: ${why}`);
  }
}
