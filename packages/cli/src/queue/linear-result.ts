import { type DType, FormatError, type Tensor, viewBytes } from '@q/core';
import { type Coordinator, type Job, objectName, packParts, type Store, unpackParts } from '@q/distributed';
import type { ModuleRow, RemoteModule } from '@q/pipeline';
import { errorOf, type JobFailure, resultOrFailure } from './job-failure.js';

/** A linear in an object of the store. */
type ResultHeader =
  | {
      readonly row: ModuleRow;
      readonly reordered: boolean;
      readonly tensors: readonly { readonly name: string; readonly dtype: DType; readonly shape: readonly number[] }[];
    }
  | { readonly failure: JobFailure };

/** Number of times that a damaged result is computed again before the run fails. */
const repairs = 3;

/**
 * The linear that a job computes.
 * @throws the error of the method on the worker; FormatError when the result is damaged repeatedly
 */
export const linearOf = (coordinator: Coordinator, job: Job): Promise<RemoteModule> =>
  resultOf(coordinator, job, (bytes) => readResult(bytes, job));

/**
 * The result of a job.
 * @param read throws FormatError for a damaged result: the job is then computed again, a few times
 */
export async function resultOf<R>(coordinator: Coordinator, job: Job, read: (bytes: Uint8Array) => R): Promise<R> {
  for (let attempt = 1; ; attempt++) {
    try {
      return read(await coordinator.result(job));
    } catch (error) {
      if (!(error instanceof FormatError) || attempt > repairs) throw error;
      await coordinator.again(job);
    }
  }
}

/** The linear of a job that an earlier run computed; undefined when there is none. A damaged one is removed. */
export async function earlierLinear(store: Store, job: Job): Promise<RemoteModule | undefined> {
  const name = objectName('results', job.id);
  const bytes = await store.read(name);
  if (!bytes) return undefined;
  try {
    return readResult(bytes, job);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    await store.remove(name);
    return undefined;
  }
}

/** The published result of a linear, or the error that every worker would end with. */
export const linearResult = (compute: () => Promise<RemoteModule>): Promise<Uint8Array> =>
  resultOrFailure(async () => writeResult(await compute()));

function readResult(bytes: Uint8Array, { id, unit }: Job): RemoteModule {
  const { header, parts } = unpackParts<ResultHeader>(bytes, `the result of ${unit} (${id})`);
  if ('failure' in header) throw errorOf(header.failure);
  const { row, reordered, tensors } = header;
  const entries = tensors.map(({ name, dtype, shape }, i): [string, Tensor] => [
    name,
    { dtype, shape, data: viewBytes(dtype, parts[i]) },
  ]);
  return { row, reordered, tensors: new Map(entries) };
}

function writeResult({ row, reordered, tensors }: RemoteModule): Uint8Array {
  const all = [...tensors];
  return packParts<ResultHeader>({
    header: { row, reordered, tensors: all.map(([name, { dtype, shape }]) => ({ name, dtype, shape })) },
    parts: all.map(([, { data }]) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength)),
  });
}
