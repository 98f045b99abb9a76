import { FormatError } from '@q/core';
import type { ByteSource } from '@q/safetensors';
import { f32Block } from './blocks/float-blocks.js';
import { type GgufFilePlan, planGgufFile } from './file-plan.js';
import { readGgufHeader } from './header.js';
import type { GgufValue } from './metadata.js';
import { readGgufTensor } from './read-tensor.js';
import { ggufTensorTypeFor } from './tensor-type.js';

/**
 * Weights of the columns by the name of the matrix: the mean squares of its inputs. Experts of a block follow each
 * other.
 */
export type ImportanceMatrix = ReadonlyMap<string, Float32Array>;

/** Sums over the calibration inputs of each matrix. */
export interface ImportanceData {
  /** Sums of squares by the matrix's name, `[matrices, columns]`, and the number of inputs of each matrix. */
  readonly sums: ReadonlyMap<string, { readonly squares: Float32Array; readonly counts: Float32Array }>;
  /** Names of the texts. */
  readonly datasets: readonly string[];
  /** Number of windows, and tokens of each. */
  readonly chunks: number;
  readonly chunkSize: number;
}

/** Means of the sums; a matrix without any input gives all columns the same weight. */
export function importanceMatrix({ sums }: Pick<ImportanceData, 'sums'>): ImportanceMatrix {
  return new Map(
    [...sums].map(([name, { squares, counts }]) => {
      const columns = squares.length / counts.length;
      const mean = (sum: number, i: number) =>
        counts[Math.floor(i / columns)] > 0 ? sum / counts[Math.floor(i / columns)] : 1;
      return [name, squares.map(mean)];
    }),
  );
}

const [sumsSuffix, countsSuffix] = ['.in_sum2', '.counts'];

/**
 * Reads the importance matrix of llama.cpp's `llama-imatrix`: a GGUF file, or the older `.dat`.
 * @throws FormatError for a file of another kind, and for values that are negative, infinite or not numbers
 */
export async function readImportance(source: ByteSource): Promise<ImportanceData> {
  const begin = await source.slice(0, Math.min(4, source.byteLength));
  const isGguf = new TextDecoder().decode(begin) === 'GGUF';
  const data = isGguf ? await readGgufImportance(source) : await readOldImportance(source);
  for (const [name, { squares }] of data.sums)
    if (!squares.every((value) => value >= 0 && Number.isFinite(value)))
      throw new FormatError(`${source.name}: the weights of ${name} are not all finite numbers from 0 on`);
  return data;
}

async function readGgufImportance(source: ByteSource): Promise<ImportanceData> {
  const { metadata, tensors } = await readGgufHeader(source);
  const kind = metadata.get('general.type')?.value;
  if (kind !== 'imatrix')
    throw new FormatError(
      `${source.name}: general.type is ${JSON.stringify(kind)}, an importance matrix has "imatrix"`,
    );
  const sums = new Map<string, { squares: Float32Array; counts: Float32Array }>();
  for (const [name, tensor] of tensors) {
    if (!name.endsWith(sumsSuffix)) continue;
    const own = name.slice(0, -sumsSuffix.length);
    const counts = tensors.get(`${own}${countsSuffix}`);
    if (!counts) throw new FormatError(`${source.name}: ${name} is there, ${own}${countsSuffix} is not`);
    const [squares, seen] = [await readGgufTensor(source, tensor), await readGgufTensor(source, counts)];
    if (seen.length === 0 || squares.length % seen.length !== 0)
      throw new FormatError(`${source.name}: ${own} has ${squares.length} sums for ${seen.length} matrices`);
    sums.set(own, { squares, counts: seen });
  }
  const number = (key: string) => Number(metadata.get(key)?.value ?? 0);
  const datasets = metadata.get('imatrix.datasets')?.value;
  return {
    sums,
    datasets: Array.isArray(datasets) ? datasets.map(String) : [],
    chunks: number('imatrix.chunk_count'),
    chunkSize: number('imatrix.chunk_size'),
  };
}

/** Entries of a name, a count of calls and the means times that count; then the last chunk and the name of the text. */
async function readOldImportance(source: ByteSource): Promise<ImportanceData> {
  const bytes = await source.slice(0, source.byteLength);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const fail = (): never => {
    throw new FormatError(
      `${source.name}: is neither a GGUF file nor an importance matrix of the older kind, or is cut short`,
    );
  };
  let at = 0;
  const take = (count: number) => {
    if (!(count >= 0) || at + count > bytes.length) fail();
    at += count;
    return at - count;
  };
  const integer = () => view.getInt32(take(4), true);
  const name = () => {
    const length = integer();
    const from = take(length);
    return new TextDecoder().decode(bytes.subarray(from, from + length));
  };
  const sums = new Map<string, { squares: Float32Array; counts: Float32Array }>();
  const entries = integer();
  if (entries < 1) fail();
  for (let i = 0; i < entries; i++) {
    const own = name();
    const calls = integer();
    const count = integer();
    if (count < 1) fail();
    const from = take(4 * count);
    const squares = Float32Array.from({ length: count }, (_, j) => view.getFloat32(from + 4 * j, true));
    sums.set(own, { squares, counts: Float32Array.of(Math.max(1, calls)) });
  }
  const chunks = at < bytes.length ? integer() : 0;
  return { sums, chunks, chunkSize: 0, datasets: at < bytes.length ? [name()] : [] };
}

/** Plans the GGUF form of an importance matrix; {@link writeImportance} gives the tensors' content. */
export function planImportanceFile({ sums, datasets, chunks, chunkSize }: ImportanceData): GgufFilePlan {
  const type = ggufTensorTypeFor(f32Block);
  const metadata = new Map<string, GgufValue>([
    ['general.type', { type: 'string', value: 'imatrix' }],
    ['imatrix.datasets', { type: 'array', of: 'string', value: datasets }],
    ['imatrix.chunk_count', { type: 'u32', value: chunks }],
    ['imatrix.chunk_size', { type: 'u32', value: chunkSize }],
  ]);
  const tensors = [...sums].flatMap(([name, { squares, counts }]) => [
    { name: `${name}${sumsSuffix}`, type, shape: [counts.length, squares.length / counts.length] },
    { name: `${name}${countsSuffix}`, type, shape: [counts.length, 1] },
  ]);
  return planGgufFile(metadata, tensors);
}

/** The whole file: GGUF, or with `old` the form for older programs. */
export function writeImportance(data: ImportanceData, old = false): Uint8Array {
  if (old) return writeOldImportance(data);
  const plan = planImportanceFile(data);
  const bytes = new Uint8Array(plan.byteLength);
  bytes.set(plan.header);
  for (const [name, { squares, counts }] of data.sums) {
    const put = (suffix: string, values: Float32Array) =>
      bytes.set(bytesOf(values), plan.places.get(`${name}${suffix}`)?.begin);
    put(sumsSuffix, squares);
    put(countsSuffix, counts);
  }
  return bytes;
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array) => new Uint8Array(buffer, byteOffset, byteLength);

function writeOldImportance({ sums, datasets, chunks }: ImportanceData): Uint8Array {
  const parts: Uint8Array[] = [];
  const integer = (value: number) => parts.push(new Uint8Array(Int32Array.of(value).buffer));
  const text = (value: string) => {
    const encoded = new TextEncoder().encode(value);
    integer(encoded.length);
    parts.push(encoded);
  };
  integer(sums.size);
  for (const [name, { squares, counts }] of sums) {
    const columns = squares.length / counts.length;
    text(name);
    // One count for all matrices: each sum is its mean times that count.
    integer(chunks);
    integer(squares.length);
    const mean = (sum: number, i: number) => {
      const count = counts[Math.floor(i / columns)];
      return count > 0 ? (sum / count) * Math.max(1, chunks) : Math.max(1, chunks);
    };
    parts.push(bytesOf(squares.map(mean)));
  }
  integer(chunks);
  text(datasets[0] ?? '');
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
