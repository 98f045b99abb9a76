import { FormatError, type Tensor, viewBytes } from '@q/core';
import { objectName, packParts, type Store, sumOfParts, unpackParts } from '@q/distributed';
import type { ShardStates, WrittenNames, WrittenWeights } from '@q/pipeline';
import { bytesOf, described, type NamedTensor, tensorsOf } from './packed-statistics.js';

/** The header of an object with written weights: its parts are those of the linears, then other tensors. */
interface WrittenHeader {
  readonly modules: readonly {
    readonly module: string;
    readonly reordered: boolean;
    readonly tensors: readonly NamedTensor[];
  }[];
  readonly tensors: readonly NamedTensor[];
}

/** The header of an object with the states of a shard: its parts are the batches of both models. */
interface StatesHeader {
  /** Number of batches of the quantized model, which come first. */
  readonly own: number;
}

/**
 * Publishes written weights under the checksum of their bytes.
 * @returns the name of the object
 */
export async function publishWritten(store: Store, { modules, tensors: others }: WrittenWeights): Promise<string> {
  const all = [...modules].map(([module, { reordered, tensors }]) => ({ module, reordered, tensors: [...tensors] }));
  const named = (tensors: readonly (readonly [string, Tensor])[]) => tensors.map((each) => described(...each));
  const bytes = packParts<WrittenHeader>({
    header: {
      modules: all.map(({ tensors, ...each }) => ({ ...each, tensors: named(tensors) })),
      tensors: named([...others]),
    },
    parts: [...all.flatMap(({ tensors }) => tensors), ...others].map(([, tensor]) => bytesOf(tensor)),
  });
  const name = objectName('tensors', sumOfParts(bytes));
  await store.publish(name, bytes);
  return name;
}

/** The weights of {@link publishWritten}. */
export function unpackWritten(bytes: Uint8Array, name: string): WrittenWeights {
  const { header, parts } = unpackParts<WrittenHeader>(bytes, name);
  let at = 0;
  const next = (tensors: readonly NamedTensor[]) => {
    at += tensors.length;
    return Object.entries(tensorsOf(tensors, parts.slice(at - tensors.length, at)));
  };
  const modules = header.modules.map(({ module, reordered, tensors }) => {
    return [module, { reordered, tensors: new Map(next(tensors)) }] as const;
  });
  return { modules: new Map(modules), tensors: new Map(next(header.tensors) as [string, Tensor<'f32'>][]) };
}

/**
 * Name of the object with the states of a shard before a block.
 * @param run checksum of the description of the run
 */
export function statesName(run: string, shard: number, block: number, { tables = '', blocks }: WrittenNames): string {
  const written = JSON.stringify(blocks.slice(0, block));
  return objectName('tensors', sumOfParts('states', run, `${shard} ${block}`, tables, written));
}

export async function publishStates(store: Store, name: string, { own, original }: ShardStates): Promise<void> {
  const parts = [...own, ...original].map(
    ({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength),
  );
  await store.publish(name, packParts<StatesHeader>({ header: { own: own.length }, parts }));
}

/** The states of {@link publishStates}; undefined when there are none. Damaged ones are removed. */
export async function readStates(store: Store, name: string): Promise<ShardStates | undefined> {
  const bytes = await store.read(name);
  if (!bytes) return undefined;
  try {
    const { header, parts } = unpackParts<StatesHeader>(bytes, name);
    const all = parts.map((part) => viewBytes('f32', part) as Float32Array);
    return { own: all.slice(0, header.own), original: all.slice(header.own) };
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    await store.remove(name);
    return undefined;
  }
}
