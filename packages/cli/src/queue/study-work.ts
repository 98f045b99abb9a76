import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Checkpoint } from '@q/checkpoint';
import { FormatError, type ModelDescription, viewBytes } from '@q/core';
import { type Coordinator, type Job, objectName, packParts, StoreError, sumOfParts, unpackParts } from '@q/distributed';
import type { StudyJob, StudyResult } from '@q/study';
import { openGround, type StudySetting } from '../study/open-ground.js';
import { runJob } from '../study/run-job.js';
import { version } from '../version.js';
import { errorOf, type JobFailure, resultOrFailure } from './job-failure.js';
import type { JobKind } from './job-kind.js';
import type { QueueRun } from './queue-run.js';
import { openStoredModel, publishText, readText, type StoredModel, storeModel } from './stored-model.js';

interface StudyRun {
  readonly setting: StudySetting;
  /** Objects of the store: the description of the model, and the ids of the text. */
  readonly model: string;
  readonly text: string;
}

type ResultHeader = { readonly result: StudyResult } | { readonly failure: JobFailure };

/** Number of times that a damaged result is computed again before the run fails. */
const repairs = 3;

export interface RemoteStudy {
  readonly checkpoint: Checkpoint;
  readonly setting: StudySetting;
  /** Token ids of the text. */
  readonly ids: Int32Array;
  /** Name of the kernels of the study. */
  readonly kernels: string;
}

/** Runs of a study that workers compute. */
export interface RemoteJobs {
  /** Adds the missing ones. */
  add(jobs: readonly StudyJob[]): Promise<void>;
  run(job: StudyJob): Promise<StudyResult>;
  close(): Promise<void>;
}

/** Lets the workers of a queue compute runs of a study, each run on one worker. */
export async function remoteStudy(
  run: QueueRun,
  { checkpoint, setting, ids, kernels }: RemoteStudy,
): Promise<RemoteJobs> {
  const { store, command } = run;
  const { signal, terminal } = command;
  const stored = await storeModel(checkpoint, store, { signal, progress: terminal.progress });
  const model = await publishText(store, stored);
  const packed = packParts({ header: {}, parts: [new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength)] });
  const text = objectName('runs', sumOfParts(packed));
  await store.publish(text, packed);
  const described = { setting, model, text } satisfies StudyRun;
  const coordinator: Coordinator = await run.coordinate({ kind: studyWork.name, version, kernels, ...described });
  const jobOf = (job: StudyJob): Job => ({
    id: sumOfParts('study', version, kernels, JSON.stringify(described), JSON.stringify(job)),
    unit: JSON.stringify(job),
  });
  return {
    add: (jobs) => coordinator.add(jobs.map(jobOf)),
    async run(job) {
      const own = jobOf(job);
      for (let attempt = 1; ; attempt++) {
        try {
          const { header } = unpackParts<ResultHeader>(await coordinator.result(own), `the result of ${job.id}`);
          if ('failure' in header) throw errorOf(header.failure);
          return header.result;
        } catch (error) {
          if (!(error instanceof FormatError) || attempt > repairs) throw error;
          await coordinator.again(own);
        }
      }
    },
    close: () => coordinator.close(),
  };
}

/** Computes runs of a study: quantizes the model into a temporary folder, scores it, and returns its figures. */
export const studyWork: JobKind = {
  name: 'study',
  // They contain the time of the run.
  varies: true,
  async open(run, { store, vocabulary, compute }) {
    const { setting, model: modelName, text } = run as unknown as StudyRun;
    const stored = await readText<StoredModel>(store, modelName, 'the list of the tensors of a model');
    const packed = await store.read(text);
    if (!packed) throw new StoreError(`${store.name}: lacks ${text}, the text of the study`);
    const ids = viewBytes('i32', unpackParts(packed, text).parts[0]);
    const checkpoint = await openStoredModel(stored, store, vocabulary);
    const folder = await mkdtemp(join(tmpdir(), 'q-study-'));
    const { signal } = new AbortController();
    const opened = await openGround({
      ...{ ...setting, path: stored.name, checkpoint, model: checkpoint.model as ModelDescription },
      ...{ ids, compute, vocabulary, folder, signal },
    });
    return {
      async compute(unit) {
        return resultOrFailure(async () => {
          return packParts<ResultHeader>({
            header: { result: await runJob(JSON.parse(unit) as StudyJob, opened.ground) },
            parts: [],
          });
        });
      },
      async close() {
        await opened.close();
        await checkpoint.close();
        await rm(folder, { recursive: true, force: true });
      },
    };
  },
};
