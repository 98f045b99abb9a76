import { FormatError } from '@q/core';
import type { ByteSource } from './byte-source.js';
import { type FileDtype, fileDtypes, isFileDtype } from './file-dtype.js';
import { HeaderSyntaxError, type HeaderValue, IntegerText, OtherNumber, parseHeaderJson } from './header-json.js';
import { TensorTable } from './tensor-table.js';
import { fewestEntryBytes, scanUsualHeader } from './usual-header.js';

/** A tensor in a file; offsets are absolute, `end` exclusive. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: FileDtype;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

/** A tensor of a folder, with the name of its file. */
export interface ShardEntry extends TensorEntry {
  readonly file: string;
}

export interface SafetensorsHeader<E extends TensorEntry = TensorEntry> {
  readonly tensors: ReadonlyMap<string, E>;
  readonly metadata: ReadonlyMap<string, string>;
  /** First byte after the header. */
  readonly dataStart: number;
}

/** Limit of the reference reader (docs/reference/file-formats.md#validation). */
const maxHeaderBytes = 100_000_000;

/**
 * Reads and checks the header of a safetensors file. Every rejection of docs/reference/file-formats.md#validation is a
 * FormatError with the file, the tensor, what was found and what was expected.
 */
export async function readHeader(source: ByteSource): Promise<SafetensorsHeader> {
  return read(source);
}

/** The same; every entry names the file. */
export async function readShardHeader(source: ByteSource, file: string): Promise<SafetensorsHeader<ShardEntry>> {
  return (await read(source, file)) as SafetensorsHeader<ShardEntry>;
}

async function read(source: ByteSource, file?: string): Promise<SafetensorsHeader> {
  const fail = (message: string): never => {
    throw new FormatError(`${source.name}: ${message}`);
  };
  if (source.byteLength < 8)
    fail(`has ${source.byteLength} bytes, a safetensors file has at least 8: it is truncated or of another kind`);
  const first = await source.slice(0, 8);
  const length = new DataView(first.buffer, first.byteOffset, 8).getBigUint64(0, true);
  if (length > BigInt(maxHeaderBytes))
    fail(`says its header has ${length} bytes, at most ${maxHeaderBytes} are allowed: it is not a safetensors file`);
  const headerBytes = Number(length);
  if (8 + headerBytes > source.byteLength) {
    fail(`says its header has ${headerBytes} bytes, but only ${source.byteLength - 8} follow: it is truncated`);
  }
  const dataStart = 8 + headerBytes;
  const headerText = await source.slice(8, dataStart);
  const usual = readUsual(headerText, dataStart, file);
  if (usual?.tensors.touch(dataStart, source.byteLength)) return { ...usual, dataStart };
  const { tensors, metadata } = readAny(headerText, checkedEntry(dataStart, file, fail), fail);
  checkPlacement([...tensors.values()], dataStart, source.byteLength, fail);
  return { tensors, metadata, dataStart };
}

type Fail = (message: string) => never;
type Entries = Pick<SafetensorsHeader, 'tensors' | 'metadata'>;

/**
 * Reads a header of the usual form with valid entries; undefined when the general reader must read it or report its
 * errors.
 */
function readUsual(
  bytes: Uint8Array,
  dataStart: number,
  file: string | undefined,
): { tensors: TensorTable; metadata: Map<string, string> } | undefined {
  const tensors = new TensorTable(
    { tensors: Math.ceil(bytes.length / fewestEntryBytes), nameBytes: bytes.length },
    file,
  );
  let right = true;
  const metadata = scanUsualHeader(bytes, ({ from, to, dtype, shape, begin, end }) => {
    if (!isFileDtype(dtype) || bytesOf(shape, dtype) !== end - begin) right = false;
    else tensors.add(bytes, from, to, { dtype, shape, begin: dataStart + begin, end: dataStart + end });
  });
  return metadata && right && tensors.finish() ? { tensors, metadata } : undefined;
}

/** Bytes of a tensor; undefined if they are not an integer, or too large for a double. */
function bytesOf(shape: readonly number[], dtype: FileDtype): number | undefined {
  let bits: number = fileDtypes[dtype];
  for (const size of shape) bits *= size;
  return bits % 8 === 0 && bits <= Number.MAX_SAFE_INTEGER ? bits / 8 : undefined;
}

function readAny(bytes: Uint8Array, checked: CheckedEntry, fail: Fail): Entries {
  let text = '';
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    fail('the header is not valid UTF-8');
  }
  if (!/^[ \t\n\r]*\{/.test(text))
    fail(`the header must begin with '{', found ${JSON.stringify(text.trimStart().slice(0, 1))}`);
  let members: HeaderValue;
  try {
    members = parseHeaderJson(text);
  } catch (error) {
    if (error instanceof HeaderSyntaxError) return fail(`header: ${error.message}`);
    throw error;
  }
  if (!(members instanceof Map)) return fail('the header is not a JSON object');

  const metadata = new Map<string, string>();
  const tensors = new Map<string, TensorEntry>();
  for (const [name, value] of members) {
    if (name === '__metadata__') {
      if (!(value instanceof Map)) return fail('__metadata__ must be an object of strings');
      for (const [key, item] of value) {
        if (typeof item !== 'string') return fail(`__metadata__ entry ${JSON.stringify(key)} must be a string`);
        metadata.set(key, item);
      }
    } else {
      const { dtype, shape, begin, end } = writtenEntry(value, (message) => fail(ofTensor(name, message)));
      tensors.set(name, checked(name, dtype, shape, begin, end));
    }
  }
  return { tensors, metadata };
}

interface WrittenEntry {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

const ofTensor = (name: string, message: string) => `tensor ${JSON.stringify(name)}: ${message}`;

type CheckedEntry = (name: string, dtype: string, shape: readonly number[], begin: number, end: number) => TensorEntry;

/** Makes the entries of a file from its header. */
function checkedEntry(dataStart: number, file: string | undefined, failed: Fail): CheckedEntry {
  return (name, dtype, shape, from, to) => {
    const fail = (message: string): never => failed(ofTensor(name, message));
    if (!isFileDtype(dtype))
      return fail(`unknown dtype ${JSON.stringify(dtype)}; known are ${Object.keys(fileDtypes).join(', ')}`);
    const bits = bitsOf(shape, fileDtypes[dtype]);
    if (typeof bits === 'bigint' ? bits % 8n !== 0n : bits % 8 !== 0)
      return fail(`${bits} bits are not a whole number of bytes`);
    if (to < from) return fail(`ends at byte ${to}, before it begins at ${from}`);
    const bytes = typeof bits === 'bigint' ? bits / 8n : bits / 8;
    if (bytes !== to - from)
      return fail(`shape [${shape}] of ${dtype} needs ${bytes} bytes, data_offsets [${from}, ${to}] hold ${to - from}`);
    const [begin, end] = [dataStart + from, dataStart + to];
    return file === undefined
      ? { name, dtype, shape, begin, end }
      : ({ name, dtype, shape, begin, end, file } as ShardEntry);
  };
}

/** Sizes can be very large products ([2, 2^52]): a BigInt if a double cannot hold the product. */
function bitsOf(shape: readonly number[], bitsEach: number): number | bigint {
  const bits = shape.reduce((product, size) => product * size, bitsEach);
  return bits <= Number.MAX_SAFE_INTEGER
    ? bits
    : shape.reduce((product, size) => product * BigInt(size), BigInt(bitsEach));
}

function writtenEntry(value: HeaderValue, fail: (message: string) => never): WrittenEntry {
  if (!(value instanceof Map)) return fail('the entry must be an object with dtype, shape and data_offsets');
  const dtype = value.get('dtype');
  if (typeof dtype !== 'string') return fail('dtype must be a string');
  const shape = integers('shape', value.get('shape'), fail);
  const offsets = integers('data_offsets', value.get('data_offsets'), fail);
  if (offsets.length !== 2) return fail(`data_offsets must be two numbers, found ${offsets.length}`);
  return { dtype, shape, begin: offsets[0], end: offsets[1] };
}

function integers(key: string, value: HeaderValue | undefined, fail: (message: string) => never): number[] {
  if (!Array.isArray(value)) return fail(`${key} must be an array of whole numbers`);
  return value.map((item) => {
    const text = item instanceof IntegerText || item instanceof OtherNumber ? item.text : JSON.stringify(item);
    if (!(item instanceof IntegerText)) return fail(`${key} holds ${text}, a whole number of at least 0 was expected`);
    const number = Number(item.text);
    if (!Number.isSafeInteger(number)) return fail(`${key} holds ${text}, larger than 2^53 - 1`);
    return number;
  });
}

/**
 * Sorted by offset, tensors must cover all bytes from the first to the last: no overlap, no hole, no rest at the end.
 */
function checkPlacement(
  entries: TensorEntry[],
  dataStart: number,
  fileBytes: number,
  fail: (message: string) => never,
): void {
  const placed = [...entries].sort((a, b) => a.begin - b.begin || a.end - b.end);
  let position = dataStart;
  for (const entry of placed) {
    if (entry.begin !== position) {
      const what = entry.begin < position ? 'overlaps the tensor before it' : 'leaves a hole before it';
      fail(
        `tensor ${JSON.stringify(entry.name)}: begins at byte ${entry.begin - dataStart} of the data, ${position - dataStart} was expected: it ${what}`,
      );
    }
    position = entry.end;
  }
  if (position !== fileBytes) {
    fail(
      position > fileBytes
        ? `the tensors need ${position} bytes, the file has ${fileBytes}: it is truncated`
        : `the tensors end at byte ${position}, the file has ${fileBytes}: ${fileBytes - position} unexplained bytes follow`,
    );
  }
}
