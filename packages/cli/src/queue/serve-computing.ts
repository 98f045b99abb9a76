import {
  type JobData,
  objectName,
  openStore,
  RefusedRunError,
  type RunDescription,
  type Store,
  StoreError,
  sumOfParts,
  unpackParts,
} from '@q/distributed';
import type { Vocabulary } from '@q/pipeline';
import type { Compute } from '../engine.js';
import { version } from '../version.js';
import type { ComputeAnswer, ComputeRequest } from './computing-process.js';
import type { OpenRun } from './job-kind.js';
import { jobKinds } from './job-kinds.js';
import { readText } from './stored-model.js';

export interface ComputingOptions {
  /** Address of the store that replaces the one in the jobs. */
  readonly store?: string;
  readonly vocabulary: Vocabulary;
  readonly compute: Compute;
}

/** Number of open runs: runs of a model with corrected recipes often follow each other. */
const openRuns = 2;

/** An open run, and whether its results may differ ({@link JobKind.varies}). */
interface ServedRun extends OpenRun {
  readonly varies: boolean;
}

/** Computes jobs one after the other, and publishes their results. */
function jobComputer({ store: given, vocabulary, compute }: ComputingOptions): {
  work(job: JobData): Promise<void>;
} {
  const stores = new Map<string, Promise<Store>>();
  const runs = new Map<string, Promise<ServedRun>>();
  const storeAt = (address: string) => {
    const found = stores.get(address) ?? openStore(address);
    stores.set(address, found);
    return found;
  };
  const open = async (store: Store, name: string): Promise<ServedRun> => {
    const run = await readText<RunDescription>(store, name, 'the description of a run');
    if (run.version !== version)
      throw new RefusedRunError(
        `the run was begun with version ${run.version} of q, and this worker is ${version}: use the same version`,
      );
    const kind = jobKinds.find((each) => each.name === run.kind);
    if (!kind)
      throw new RefusedRunError(`the run is of kind ${JSON.stringify(run.kind)}, which this worker does not know`);
    const own = compute.kernels.name;
    if (run.kernels !== own)
      throw new RefusedRunError(
        `the run is computed with the kernels ${run.kernels}, and this worker has ${own}, whose last bits differ`,
      );
    return { ...(await kind.open(run, { store, vocabulary, compute })), varies: kind.varies === true };
  };
  const runOf = async (store: Store, name: string): Promise<ServedRun> => {
    // Two runs may have the same description in two stores.
    const key = `${store.name} ${name}`;
    let found = runs.get(key);
    if (!found) {
      found = open(store, name);
      runs.set(key, found);
      found.catch(() => runs.delete(key));
      for (const [old, run] of [...runs].slice(0, -openRuns)) {
        runs.delete(old);
        void run.then((each) => each.close());
      }
    }
    return found;
  };
  return {
    async work({ id, run, unit, inputs, store: address }) {
      const store = await storeAt(given ?? address);
      const name = objectName('results', id);
      // The job was delivered twice: the result of the first delivery exists.
      if (await store.has(name)) return;
      const served = await runOf(store, run);
      const result = await served.compute(unit, inputs);
      if ((await store.publish(name, result)) || served.varies) return;
      await refuseOtherResult(store, name, unit, result);
    },
  };
}

/**
 * Another worker was faster. Its result stays; both must be the same.
 * @throws StoreError when they differ
 */
async function refuseOtherResult(store: Store, name: string, unit: string, own: Uint8Array): Promise<void> {
  const found = await store.read(name);
  if (!found || sumOfParts(found) === sumOfParts(own)) return;
  // The coordinator removes a damaged one.
  unpackParts(found, name);
  throw new StoreError(
    `${store.name}: two workers computed ${unit} and got different bytes: one of the machines computes wrongly`,
  );
}

/** The process that computes: answers each request, and ends with its parent. */
export async function serveComputing(options: ComputingOptions): Promise<void> {
  const computer = jobComputer(options);
  const answer = (message: ComputeAnswer) => process.send?.(message);
  let jobs = 0;
  process.on('message', async ({ job }: ComputeRequest) => {
    jobs++;
    try {
      await computer.work(job);
      answer({});
    } catch (error) {
      const { message } = error as Error;
      answer({ failure: { message, refused: error instanceof RefusedRunError } });
    } finally {
      jobs--;
    }
  });
  await new Promise<void>((resolve) => process.on('disconnect', resolve));
  // Its worker was killed: no one waits for the current job, which would go on with kernels that are disposed.
  if (jobs > 0) process.exit(1);
}
