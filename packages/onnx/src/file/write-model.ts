import { basename } from 'node:path';
import { create, type DescMessage, type Message, toBinary } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { type ProgressEvent, ShapeError } from '@q/core';
import type { FileOptions } from '@q/durable-files';
import { elementTypes } from '../proto/element-type.js';
import { type ModelProto, schemas, type TensorProto } from '../proto/schema.js';
import { createFileSink, type FileSink } from './file-sink.js';
import { byteLength, type Payload, type StoredTensor } from './payload.js';

export interface WriteOptions extends FileOptions {
  /**
   * Puts tensors into separate files (`NAME.onnx_data`, `NAME.onnx_data_1`, ...), each of at most this many bytes.
   * Absent: into the model file itself, which must stay below 2 GiB.
   */
  readonly externalBytes?: number;
  readonly signal?: AbortSignal;
  /** Called after each payload with the bytes written so far, and the total. */
  readonly progress?: (event: ProgressEvent) => void;
}

export interface WrittenModel {
  /** Paths: the model, then its data files in order. */
  readonly files: readonly string[];
  readonly bytes: number;
}

/** Tensors of a mapped file begin at multiples of this (ONNX's documentation of external data). */
const alignment = 4096;
/** Smaller tensors stay in the model file, where they need no padding. */
const smallBytes = 16384;
/** Largest protobuf message that every reader accepts. */
const messageLimit = 2 ** 31 - 1;

/**
 * Writes a model whose large tensors are made one payload at a time: memory holds the graph and two payloads.
 * @param model complete except for the payloads' tensors
 * @throws ShapeError when a payload's bytes do not have the length of its tensor, or the model is too long for one file
 * @throws WriteError when a file cannot be written
 */
export async function writeModel(
  path: string,
  model: ModelProto,
  payloads: readonly Payload[],
  options: WriteOptions = {},
): Promise<WrittenModel> {
  const total = payloads.flatMap(({ tensors }) => tensors).reduce((sum, tensor) => sum + byteLength(tensor), 0);
  const sinks: FileSink[] = [];
  const progress = (done: number, note: string) =>
    options.progress?.({ task: 'write', done, total, unit: 'bytes', note });
  try {
    const run: Run = { payloads, sinks, options, progress };
    if (options.externalBytes === undefined) await embed(path, model, run);
    else await spread(path, model, options.externalBytes, run);
    options.signal?.throwIfAborted();
    // The model is written last: readers open it, and all of its data exists then.
    for (const sink of [...sinks].reverse()) await sink.finish();
  } catch (error) {
    for (const sink of sinks) await sink.abort();
    throw error;
  }
  return { files: sinks.map((sink) => sink.path), bytes: sinks.reduce((sum, sink) => sum + sink.length, 0) };
}

interface Run {
  readonly payloads: readonly Payload[];
  /** Files that were opened. */
  readonly sinks: FileSink[];
  readonly options: WriteOptions;
  progress(done: number, note: string): void;
}

async function begin(path: string, { sinks, options }: Run): Promise<FileSink> {
  const sink = await createFileSink(path, options);
  sinks.push(sink);
  return sink;
}

/** Makes each payload while the one before it is written. */
async function eachTensor(
  { payloads, options, progress }: Run,
  write: (tensor: StoredTensor, bytes: Uint8Array) => Promise<void>,
): Promise<void> {
  let writing: Promise<void> = Promise.resolve();
  let done = 0;
  try {
    for (const { tensors, make } of payloads) {
      options.signal?.throwIfAborted();
      const made = await make();
      await writing;
      for (const [index, tensor] of tensors.entries()) {
        const bytes = made[index]?.length ?? 0;
        if (bytes !== byteLength(tensor))
          throw new ShapeError(
            `tensor ${tensor.name} of type ${tensor.type} [${tensor.dims}] needs ${byteLength(tensor)} bytes, got ${bytes}`,
          );
        done += bytes;
      }
      writing = (async () => {
        for (const [index, tensor] of tensors.entries()) await write(tensor, made[index]!);
      })();
      // The promise is awaited later; until then its failure must not count as unhandled.
      writing.catch(() => {});
      progress(done, tensors[0]?.name ?? '');
    }
  } finally {
    await writing;
  }
}

const describe = ({ name, type, dims }: StoredTensor, more: object = {}) =>
  create(schemas.tensor, { name, dataType: elementTypes[type].id, dims: dims.map(BigInt), ...more }) as TensorProto;

/** Tag and length of a field with bytes. */
const prefix = (field: number, length: number): Uint8Array =>
  new BinaryWriter().tag(field, WireType.LengthDelimited).uint32(length).finish();

const fieldNumber = (schema: DescMessage, name: string): number => schema.field[name]!.number;

/**
 * One file. In protobuf the length comes before the value. All lengths are known from the shapes, so the values go
 * straight to the disk.
 */
async function embed(path: string, model: ModelProto, run: Run): Promise<void> {
  const raw = fieldNumber(schemas.tensor, 'rawData');
  const initializer = fieldNumber(schemas.graph, 'initializer');
  const heads = new Map<string, Uint8Array>();
  const graphBytes = toBinary(schemas.graph, model.graph!);
  let length = graphBytes.length;
  for (const tensor of run.payloads.flatMap(({ tensors }) => tensors)) {
    const bytes = byteLength(tensor);
    const inside = concatenate([toBinary(schemas.tensor, describe(tensor)), prefix(raw, bytes)]);
    const head = concatenate([prefix(initializer, inside.length + bytes), inside]);
    heads.set(tensor.name, head);
    length += head.length + bytes;
  }
  const before = toBinary(schemas.model, changed(model, { graph: undefined }));
  if (before.length + length + 16 > messageLimit)
    throw new ShapeError(
      `${path}: ${length} bytes are too many for one file, which must stay below 2 GiB: put the tensors into separate files`,
    );
  const sink = await begin(path, run);
  await sink.write(before);
  await sink.write(prefix(fieldNumber(schemas.model, 'graph'), length));
  await sink.write(graphBytes);
  await eachTensor(run, async (tensor, bytes) => {
    await sink.write(heads.get(tensor.name)!);
    await sink.write(bytes);
  });
}

/** The graph in one file, and large tensors in separate files. */
async function spread(path: string, model: ModelProto, limit: number, run: Run): Promise<void> {
  const sink = await begin(path, run);
  const name = (index: number) => `${path}_data${index === 0 ? '' : `_${index}`}`;
  const kept: TensorProto[] = [];
  let data: FileSink | undefined;
  await eachTensor(run, async (tensor, bytes) => {
    if (bytes.length < smallBytes) {
      kept.push(describe(tensor, { rawData: bytes.slice() }));
      return;
    }
    const aligned = data ? Math.ceil(data.length / alignment) * alignment : 0;
    if (!data || (data.length > 0 && aligned + bytes.length > limit)) {
      data = await begin(name(run.sinks.length - 1), run);
    } else await data.write(new Uint8Array(aligned - data.length));
    const place = { location: basename(data.path), offset: `${data.length}`, length: `${bytes.length}` };
    const externalData = Object.entries(place).map(([key, value]) => create(schemas.stringEntry, { key, value }));
    kept.push(describe(tensor, { externalData, dataLocation: 1 }));
    await data.write(bytes);
  });
  const graph = changed(model.graph!, { initializer: [...model.graph!.initializer, ...kept] });
  await sink.write(toBinary(schemas.model, changed(model, { graph })));
}

/** A message with other values in some of its fields; all others are shared. */
const changed = <M extends Message>(message: M, fields: Partial<M>): M =>
  Object.assign(Object.create(Object.getPrototypeOf(message)), message, fields);

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
