import { basename } from 'node:path';
import {
  type Architecture,
  FormatError,
  linearsOf,
  type ModelDescription,
  type QuantizedTensor,
  tensor,
} from '@q/core';
import { type GgufTensor, hasLinearCodes, type ModelTensor, quantizedInFile, rowsInFile } from '@q/gguf';
import { describeModel } from '@q/models';
import { type FileDtype, openFile, type ShardReader, type TensorEntry } from '@q/safetensors';
import { transpose } from '../transpose.js';
import type { GgufFile } from './gguf-file.js';

/** Types of a file whose bytes a folder stores unchanged. */
const plainDtypes: Readonly<Record<string, FileDtype>> = { F16: 'F16', BF16: 'BF16' };

interface Home {
  readonly stored: GgufTensor;
  readonly model: ModelTensor;
  /** Index among the tensors that the stored tensor consists of. */
  readonly part: number;
  /** The folder stores it `[in, out]`. */
  readonly transposed: boolean;
  readonly entry: TensorEntry & { readonly file: string };
  /** Of the folder's tensor as `[out, in]`: bytes from one row to the next. */
  readonly rowBytes: number;
}

/** Weights that a folder stores `[in, out]`. */
const turnedWeights = (model: ModelDescription): ReadonlySet<string> =>
  new Set(linearsOf(model).flatMap(({ module, transposed }) => (transposed ? [`${module}.weight`] : [])));

/** Shapes of a model's tensors in GGUF files, by name: linears `[out, in]`. */
export function ggufShapes(model: ModelDescription): ReadonlyMap<string, readonly number[]> {
  const turned = turnedWeights(model);
  return new Map(
    [...model.expected].map(([name, shape]) => [name, turned.has(name) ? [...shape].reverse() : shape] as const),
  );
}

/** Access to the codes of a file of quantized tensors, in addition to their values. */
export interface GgufShards extends ShardReader {
  /** Modules whose weights are codes with one scale a group. */
  readonly codedModules: readonly string[];
  /** Their codes. */
  codes(module: string): Promise<QuantizedTensor | undefined>;
}

/**
 * The tensors of a GGUF file with the names, shapes and values of a model folder: rows of queries and keys in their
 * order, separate experts, nothing added to norms. Quantized tensors are given as f32.
 * @throws SchemeError for a model that no architecture describes; FormatError naming a tensor that does not fit
 */
export async function ggufShards(
  path: string,
  { header, model }: GgufFile,
  known: readonly Architecture[],
): Promise<GgufShards> {
  const described = describeModel(model.config, known);
  const turned = turnedWeights(described);
  const shapes = ggufShapes(described);
  const file = basename(path);
  /** A tensor of the folder may be several tensors of the file, each with some of its rows. */
  const homes = new Map<string, readonly Home[]>();
  for (const each of model.tensors(shapes)) {
    const stored = header.tensors.get(each.name);
    if (!stored) continue;
    for (const [part, name] of each.from.entries()) {
      const shape = described.expected.get(name) as readonly number[];
      // The parts of one tensor may be of several types: F16, and F32 for one whose values F16 does not hold.
      const asStored = each.plus === undefined && each.strided === undefined;
      const dtype = asStored ? (plainDtypes[stored.type.name] ?? 'F32') : 'F32';
      const bytes = shape.reduce((product, size) => product * size, 1) * (dtype === 'F32' ? 4 : 2);
      const entry = { ...{ name, dtype, shape, begin: 0, end: bytes }, file };
      const row = (shapes.get(name) as readonly number[]).slice(1).reduce((product, size) => product * size, 1);
      const home = { stored, model: each, part, transposed: turned.has(name), entry };
      const others = homes.get(name) ?? [];
      homes.set(name, [...others, { ...home, rowBytes: row * (dtype === 'F32' ? 4 : 2) }]);
    }
  }
  const source = await openFile(path);
  let whole: { readonly name: string; readonly bytes: Uint8Array } | undefined;

  const find = (name: string): Home => {
    const [home] = homes.get(name) ?? [];
    if (!home) throw new FormatError(`${path}: has no tensor ${name}`);
    return home;
  };
  const readWhole = async (name: string): Promise<Uint8Array> => {
    if (whole?.name === name) return whole.bytes;
    const home = find(name);
    const parts = homes.get(name) as readonly Home[];
    const bytes = parts.length > 1 ? new Uint8Array(home.entry.end) : await rowsInFile(source, home, 0, rowsOf(home));
    if (parts.length > 1)
      for (const part of parts) spread(await rowsInFile(source, part, 0, rowsOf(part)), part, bytes);
    return home.transposed ? transposedBytes(bytes, home) : bytes;
  };
  return {
    entries: new Map([...homes].map(([name, [{ entry }]]) => [name, entry])),
    files: [file],
    notes: [],
    async read(name) {
      const { dtype, shape } = find(name).entry;
      const bytes = await readWhole(name);
      const { buffer, byteOffset, byteLength } = bytes;
      return dtype === 'F32'
        ? tensor('f32', shape, new Float32Array(buffer, byteOffset, byteLength / 4))
        : tensor(dtype === 'F16' ? 'f16' : 'bf16', shape, new Uint16Array(buffer, byteOffset, byteLength / 2));
    },
    async readBytes(name, start = 0, end) {
      const home = find(name);
      const { end: size } = home.entry;
      const stop = Math.min(end ?? size, size);
      const width = size / rowsOf(home);
      // Reordered rows or columns need the whole tensor; these matrices are not the large ones.
      if (home.transposed || home.model.order || home.model.strided) {
        if (whole?.name !== name) whole = { name, bytes: await readWhole(name) };
        return whole.bytes.subarray(start, stop);
      }
      const first = Math.floor(start / width);
      const bytes = await rowsInFile(source, home, first, Math.ceil(stop / width));
      return bytes.subarray(start - first * width, stop - first * width);
    },
    codedModules: [...homes].flatMap(([name, [home]]) =>
      name.endsWith('.weight') && isCoded(home) ? [name.replace(/\.weight$/, '')] : [],
    ),
    async codes(module) {
      const [home] = homes.get(`${module}.weight`) ?? [];
      return home && isCoded(home) ? quantizedInFile(source, home) : undefined;
    },
    close: () => source.close(),
  };
}

const isCoded = ({ stored, model, transposed }: Home): boolean =>
  stored.shape.length > 1 && !transposed && !model.strided && model.plus === undefined && hasLinearCodes(stored);

/** Puts rows to their places among those of other tensors of the file. */
function spread(rows: Uint8Array, { model: { strided }, rowBytes }: Home, to: Uint8Array): void {
  const { step, first } = strided ?? { step: 1, first: 0 };
  for (let from = 0, at = first * rowBytes; from < rows.length; from += rowBytes, at += step * rowBytes)
    to.set(rows.subarray(from, from + rowBytes), at);
}

/**
 * Rows of one tensor, with all dimensions except the last one merged; a vector of the file has one row for each value.
 */
function rowsOf({ model: { shape, from } }: Home): number {
  const columns = shape.length > 1 ? shape[shape.length - 1] : 1;
  return shape.reduce((product, size) => product * size, 1) / columns / from.length;
}

function transposedBytes(bytes: Uint8Array, { entry }: Home): Uint8Array {
  const [rows, columns] = entry.shape;
  if (entry.dtype !== 'F32') {
    const [from, to] = [
      new Uint16Array(bytes.buffer, bytes.byteOffset, rows * columns),
      new Uint16Array(rows * columns),
    ];
    for (let row = 0; row < rows; row++) for (let j = 0; j < columns; j++) to[row * columns + j] = from[j * rows + row];
    return new Uint8Array(to.buffer);
  }
  const values = new Float32Array(bytes.buffer, bytes.byteOffset, rows * columns);
  const { data } = transpose(tensor('f32', [columns, rows], values));
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
