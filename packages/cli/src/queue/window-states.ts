import { FormatError, type Tensor, viewBytes } from '@q/core';
import { objectName, packParts, type Store, sumOfParts, unpackParts } from '@q/distributed';
import type { EncodedModules, ShardStates, WrittenNames } from '@q/pipeline';
import { bytesOf, described, type NamedTensor, tensorsOf } from './packed-statistics.js';

/** The header of an object with written linears. */
interface WrittenHeader {
  readonly modules: readonly {
    readonly module: string;
    readonly reordered: boolean;
    readonly tensors: readonly NamedTensor[];
  }[];
}

/** The header of an object with the states of a shard: its parts are the batches of both models. */
interface StatesHeader {
  /** Number of batches of the quantized model, which come first. */
  readonly own: number;
}

/**
 * Publishes written linears under the checksum of their bytes.
 * @returns the name of the object
 */
export async function publishWritten(store: Store, modules: EncodedModules): Promise<string> {
  const all = [...modules].map(([module, { reordered, tensors }]) => ({ module, reordered, tensors: [...tensors] }));
  const bytes = packParts<WrittenHeader>({
    header: {
      modules: all.map(({ tensors, ...each }) => ({ ...each, tensors: tensors.map((own) => described(...own)) })),
    },
    parts: all.flatMap(({ tensors }) => tensors.map(([, tensor]) => bytesOf(tensor))),
  });
  const name = objectName('tensors', sumOfParts(bytes));
  await store.publish(name, bytes);
  return name;
}

/** The linears of {@link publishWritten}. */
export function unpackWritten(bytes: Uint8Array, name: string): EncodedModules {
  const { header, parts } = unpackParts<WrittenHeader>(bytes, name);
  let at = 0;
  return new Map(
    header.modules.map(({ module, reordered, tensors }) => {
      const own = Object.entries<Tensor>(tensorsOf(tensors, parts.slice(at, at + tensors.length)));
      at += tensors.length;
      return [module, { reordered, tensors: new Map(own) }];
    }),
  );
}

/**
 * Name of the object with the states of a shard before a block.
 * @param run checksum of the description of the run
 */
export function statesName(run: string, shard: number, block: number, { tables = '', stages }: WrittenNames): string {
  const written = JSON.stringify(stages.slice(0, block));
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
