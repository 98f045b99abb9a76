import { elementCount, FormatError, SchemeError } from '@q/core';
import { dtypeRank, type FileDtype, fileDtypes } from './file-dtype.js';

/** A tensor to be written. */
export interface PlannedTensor {
  readonly name: string;
  readonly dtype: FileDtype;
  readonly shape: readonly number[];
  /**
   * Tensors that it consists of, one after the other, with its dtype. Each is written by its own name; the file names
   * only the whole.
   */
  readonly parts?: readonly { readonly name: string; readonly shape: readonly number[] }[];
}

/** A tensor's absolute offset in its file. */
export interface PlannedPlace {
  readonly file: string;
  readonly dtype: FileDtype;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

export interface PlannedFile {
  readonly name: string;
  /** Length prefix and header. */
  readonly header: Uint8Array;
  readonly byteLength: number;
}

/** The offset of every byte, before any is written. */
export interface ShardPlan {
  readonly files: readonly PlannedFile[];
  /** Keyed by the names for writing: parts instead of the tensors that consist of them. */
  readonly places: ReadonlyMap<string, PlannedPlace>;
  /** Content of `model.safetensors.index.json`; absent for a single file. */
  readonly index?: string;
  /** Bytes of all files. */
  readonly byteLength: number;
}

export interface ShardOptions {
  /** 5e9 when absent, as in the hub library. */
  readonly maxShardBytes?: number;
  /** `{format: 'pt'}` when absent: older transformers refuse files without it. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/**
 * Bytes of a tensor's data.
 * @throws FormatError when its bits are not whole bytes
 */
export function byteLength({ name, dtype, shape }: PlannedTensor): number {
  const bits = elementCount(shape) * fileDtypes[dtype];
  if (!Number.isSafeInteger(bits) || bits % 8 !== 0)
    throw new FormatError(`tensor ${name}: ${bits} bits of ${dtype} are not a whole number of bytes`);
  return bits / 8;
}

/**
 * Fills shards greedily in the given order; a tensor larger than a shard gets its own. Inside a file tensors are sorted
 * by dtype, widest first, then by name (docs/reference/file-formats.md#order-of-tensors), which keeps every tensor
 * aligned.
 */
export function planShards(tensors: readonly PlannedTensor[], options: ShardOptions = {}): ShardPlan {
  const { maxShardBytes = 5e9, metadata = { format: 'pt' } } = options;
  if (!(maxShardBytes > 0)) throw new SchemeError(`maxShardBytes must be positive, got ${maxShardBytes}`);
  const names = new Set<string>();
  const shards: PlannedTensor[][] = [[]];
  let filled = 0;
  let total = 0;
  for (const planned of tensors) {
    for (const { name } of [planned, ...(planned.parts ?? [])]) {
      if (names.has(name)) throw new FormatError(`tensor ${name} is planned twice`);
      names.add(name);
    }
    const bytes = byteLength(planned);
    if (filled > 0 && filled + bytes > maxShardBytes) {
      shards.push([]);
      filled = 0;
    }
    shards[shards.length - 1].push(planned);
    filled += bytes;
    total += bytes;
  }
  const number = (n: number) => String(n).padStart(5, '0');
  const fileName = (i: number) =>
    shards.length === 1 ? 'model.safetensors' : `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`;
  const places = new Map<string, PlannedPlace>();
  const files = shards.map((shard, i) => planFile(fileName(i), shard, metadata, places));
  const weightMap = Object.fromEntries(
    tensors.map(({ name, parts }) => [name, (places.get(parts?.[0]?.name ?? name) as PlannedPlace).file]),
  );
  return {
    files,
    places,
    byteLength: files.reduce((sum, file) => sum + file.byteLength, 0),
    ...(shards.length > 1
      ? { index: `${JSON.stringify({ metadata: { total_size: total }, weight_map: weightMap }, null, 2)}\n` }
      : {}),
  };
}

function planFile(
  file: string,
  tensors: readonly PlannedTensor[],
  metadata: Readonly<Record<string, string>>,
  places: Map<string, PlannedPlace>,
): PlannedFile {
  const sorted = [...tensors].sort((a, b) => dtypeRank(b.dtype) - dtypeRank(a.dtype) || (a.name < b.name ? -1 : 1));
  const members: string[] = Object.keys(metadata).length > 0 ? [`"__metadata__":${JSON.stringify(metadata)}`] : [];
  let position = 0;
  const begins: number[] = [];
  for (const planned of sorted) {
    const end = position + byteLength(planned);
    members.push(
      `${JSON.stringify(planned.name)}:{"dtype":"${planned.dtype}","shape":[${planned.shape}],"data_offsets":[${position},${end}]}`,
    );
    begins.push(position);
    position = end;
  }
  const json = new TextEncoder().encode(`{${members.join(',')}}`);
  const padded = Math.ceil(json.length / 8) * 8;
  const header = new Uint8Array(8 + padded).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(padded), true);
  header.set(json, 8);
  sorted.forEach((planned, i) => {
    const { dtype } = planned;
    let begin = header.length + begins[i];
    for (const { name, shape } of planned.parts ?? [planned]) {
      const end = begin + byteLength({ name, dtype, shape });
      places.set(name, { file, dtype, shape, begin, end });
      begin = end;
    }
    if (begin !== header.length + begins[i] + byteLength(planned))
      throw new FormatError(`tensor ${planned.name}: its parts do not fill it`);
  });
  return { name: file, header, byteLength: header.length + position };
}
