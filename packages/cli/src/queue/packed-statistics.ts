import { absMaxStat, type DType, hessian, type Statistic, type Tensor, viewBytes } from '@q/core';
import { type PackedParts, type Store, StoreError, unpackParts } from '@q/distributed';
import { type CollectedInput, type Plan, transformsOf } from '@q/pipeline';

/** A tensor whose bytes are a part of an object of the store. */
export interface NamedTensor {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** The header of the statistics of an input. */
export interface StatisticsHeader {
  readonly tokens: number;
  /** In order, with the tensors of each. */
  readonly statistics: readonly { readonly name: string; readonly tensors: readonly NamedTensor[] }[];
}

export const bytesOf = ({ data }: Tensor) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
export const described = (name: string, { dtype, shape }: Tensor): NamedTensor => ({ name, dtype, shape });

/** The statistics of an input for an object of the store. */
export function describeStatistics({ statistics, kinds, tokens }: CollectedInput): PackedParts<StatisticsHeader> {
  const states = kinds.map((kind) => ({
    name: kind.name,
    tensors: Object.entries(kind.serialize(statistics.get(kind))),
  }));
  return {
    header: {
      tokens,
      statistics: states.map(({ name, tensors }) => ({ name, tensors: tensors.map((each) => described(...each)) })),
    },
    parts: states.flatMap(({ tensors }) => tensors.map(([, tensor]) => bytesOf(tensor))),
  };
}

/** All statistics that linears and transforms of a plan may need, by name. */
export function statisticsByName(plan: Plan): ReadonlyMap<string, Statistic<any>> {
  const kinds = new Map<string, Statistic<any>>([hessian, absMaxStat].map((kind) => [kind.name, kind]));
  for (const { needs } of transformsOf(plan.recipe)) for (const kind of needs) kinds.set(kind.name, kind);
  for (const { quantizer } of plan.modules.values()) for (const kind of quantizer.needs) kinds.set(kind.name, kind);
  return kinds;
}

/**
 * The states of {@link describeStatistics}.
 * @param parts begin with those of the statistics
 * @param object its name, for messages
 * @throws StoreError when a statistic is not one of `kinds`
 */
export function statesOf(
  { statistics }: StatisticsHeader,
  parts: readonly Uint8Array[],
  kinds: ReadonlyMap<string, Statistic<any>>,
  object: string,
): {
  readonly states: ReadonlyMap<string, unknown>;
  readonly kinds: readonly Statistic<any>[];
  readonly parts: number;
} {
  let at = 0;
  const states = new Map<string, unknown>();
  const found = statistics.map(({ name, tensors }) => {
    const kind = kinds.get(name);
    if (!kind) throw new StoreError(`${object}: has the statistic ${name}, which no method of the recipe reads`);
    states.set(name, kind.deserialize(tensorsOf(tensors, parts.slice(at, at + tensors.length))));
    at += tensors.length;
    return kind;
  });
  return { states, kinds: found, parts: at };
}

export const tensorsOf = (named: readonly NamedTensor[], parts: readonly Uint8Array[]): Record<string, Tensor> =>
  Object.fromEntries(
    named.map(({ name, dtype, shape }, i) => [name, { dtype, shape, data: viewBytes(dtype, parts[i]) }]),
  );

/** @throws StoreError when the store lacks the object; FormatError when it is damaged */
export async function readParts<Header>(store: Store, name: string, what: string): Promise<PackedParts<Header>> {
  const bytes = name === '' ? undefined : await store.read(name);
  if (!bytes) throw new StoreError(`${store.name}: lacks ${name}, ${what}: is it the store of the run?`);
  return unpackParts<Header>(bytes, name);
}
