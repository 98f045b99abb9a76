import { type Checkpoint, conversionSource } from '@q/checkpoint';
import { FormatError, viewBytes } from '@q/core';
import { type Coordinator, type Job, objectName, packParts, StoreError, sumOfParts, unpackParts } from '@q/distributed';
import {
  type ConvertedModel,
  encodeTensor,
  ggufTensorTypes,
  type ModelTensor,
  type RequantizedTensor,
  type RequantizePlan,
} from '@q/gguf';

import { version } from '../version.js';
import { errorOf, type JobFailure, resultOrFailure } from './job-failure.js';
import type { JobKind } from './job-kind.js';
import type { QueueRun } from './queue-run.js';
import { openStoredModel, publishText, readText, type StoredModel, storeModel } from './stored-model.js';

/** The data that all tensors of a conversion share. */
interface ConvertRun {
  /** Object of the store that describes the model. */
  readonly model: string;
}

/** The header of an object with the type of a tensor; its parts are the arrays in `arrays`. */
interface TensorHeader {
  readonly tensor: Pick<ModelTensor, 'name' | 'shape' | 'from' | 'plus'>;
  /** Name of its type in the file. */
  readonly to: string;
  readonly arrays: readonly ('order' | 'importance')[];
}

type ResultHeader = { readonly failure?: JobFailure };

/** Number of times that a damaged result is computed again before the run fails. */
const repairs = 3;

export interface RemoteConversion {
  readonly checkpoint: Checkpoint;
  readonly model: ConvertedModel;
  readonly plan: RequantizePlan;
  /** Name of the kernels of the run. */
  readonly kernels: string;
}

/** Tensors of a GGUF file that workers encode. */
export interface RemoteTensors {
  /** The bytes of a tensor, requested when it is written; undefined for tensors that are too small for a job. */
  readonly encoded: (name: string) => (() => Promise<Uint8Array>) | undefined;
  close(): Promise<void>;
}

/** Lets the workers of a queue encode the matrices of a GGUF file. */
export async function remoteTensors(
  run: QueueRun,
  { checkpoint, model, plan, kernels }: RemoteConversion,
): Promise<RemoteTensors> {
  const { store, command } = run;
  const { signal, terminal } = command;
  const stored = await storeModel(checkpoint, store, { signal, progress: terminal.progress });
  const name = await publishText(store, stored);
  const sums = new Map(stored.tensors.map(({ name: tensor, sum }) => [tensor, sum as string]));
  const coordinator = await run.coordinate({
    ...{ kind: convertWork.name, version, kernels },
    ...({ model: name } satisfies ConvertRun),
  });
  const byName = new Map(model.tensors.map((tensor) => [tensor.name, tensor]));
  const jobs = new Map<string, Job>();
  for (const tensor of plan.tensors) {
    const found = byName.get(tensor.from.name) as ModelTensor;
    if (found.shape.length < 2 || found.values || !tensor.to.format) continue;
    const inputs = packTensor(found, tensor);
    const sum = sumOfParts(inputs);
    const object = objectName('runs', sum);
    await store.publish(object, inputs);
    // A quantized weight consists of several tensors of the folder, so the list of all of them represents it.
    const sources = found.from.map((each) => sums.get(each) ?? name);
    jobs.set(found.name, {
      ...{ id: sumOfParts('convert', version, kernels, sum, ...sources), unit: found.name, inputs: object },
    });
  }
  await coordinator.add([...jobs.values()]);
  let closed: Promise<void> | undefined;
  return {
    encoded(tensor) {
      const job = jobs.get(tensor);
      return job && (() => bytesOf(coordinator, job));
    },
    close: () => (closed ??= coordinator.close()),
  };
}

async function bytesOf(coordinator: Coordinator, job: Job): Promise<Uint8Array> {
  for (let attempt = 1; ; attempt++) {
    try {
      const bytes = await coordinator.result(job);
      const { header, parts } = unpackParts<ResultHeader>(bytes, `the result of ${job.unit} (${job.id})`);
      if (header.failure) throw errorOf(header.failure);
      return parts[0];
    } catch (error) {
      if (!(error instanceof FormatError) || attempt > repairs) throw error;
      await coordinator.again(job);
    }
  }
}

function packTensor(
  { name, shape, from, plus, order }: ModelTensor,
  { to, importance }: RequantizedTensor,
): Uint8Array {
  const arrays = Object.entries({ order, importance }).flatMap(([key, array]) => (array ? [{ key, array }] : []));
  return packParts<TensorHeader>({
    header: {
      tensor: { name, shape, from, ...(plus === undefined ? {} : { plus }) },
      to: to.name,
      arrays: arrays.map(({ key }) => key as TensorHeader['arrays'][number]),
    },
    parts: arrays.map(({ array }) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength)),
  });
}

/** Encodes tensors of a GGUF file for the process that writes it. */
export const convertWork: JobKind = {
  name: 'convert',
  async open(run, { store, vocabulary, compute: { kernels } }) {
    const { model: name } = run as unknown as ConvertRun;
    const model = await readText<StoredModel>(store, name, 'the list of the tensors of a model');
    const checkpoint = await openStoredModel(model, store, vocabulary);
    const source = await conversionSource(checkpoint);
    return {
      async compute(unit, inputs = '') {
        const bytes = inputs === '' ? undefined : await store.read(inputs);
        if (!bytes) throw new StoreError(`${store.name}: lacks ${inputs}, the type of ${unit}`);
        const { header, parts } = unpackParts<TensorHeader>(bytes, inputs);
        const to = ggufTensorTypes.find((type) => type.name === header.to);
        if (!to) throw new StoreError(`${inputs}: ${unit} becomes ${header.to}, which is not a type of GGUF`);
        const part = (key: TensorHeader['arrays'][number]) => parts[header.arrays.indexOf(key)];
        const order = part('order') && viewBytes('i32', part('order'));
        const importance = part('importance') && viewBytes('f32', part('importance'));
        const tensor: ModelTensor = { ...header.tensor, ...(order ? { order } : {}) };
        return resultOrFailure(async () => {
          const named = { name: unit } as RequantizedTensor['from'];
          const encoded = await encodeTensor(source, tensor, { from: named, to, importance }, kernels);
          return packParts<ResultHeader>({ header: {}, parts: [encoded] });
        });
      },
      close: () => checkpoint.close(),
    };
  },
};
