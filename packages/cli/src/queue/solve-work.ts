import { randomBytes } from 'node:crypto';
import {
  type ActivationScheme,
  CalibrationError,
  createContext,
  type OutputMomentsState,
  outputMoments,
  type Statistic,
  type Statistics,
  type Tensor,
  viewBytes,
} from '@q/core';
import { type Job, objectName, packParts, StoreError, sumOfParts } from '@q/distributed';
import {
  type CollectedInput,
  computeSolved,
  moduleIdentity,
  type Plan,
  type RemoteModule,
  type RemoteSolver,
  type SolverInputs,
} from '@q/pipeline';
import { version } from '../version.js';
import type { JobKind } from './job-kind.js';
import { earlierLinear, linearOf, linearResult } from './linear-result.js';
import {
  bytesOf,
  described,
  describeStatistics,
  type NamedTensor,
  readParts,
  type StatisticsHeader,
  statesOf,
  statisticsByName,
  tensorsOf,
} from './packed-statistics.js';
import { describePlan, openPlannedRun } from './planned-run.js';
import type { QueueRun } from './queue-run.js';
import type { RemoteQuantization } from './remote-run.js';
import { describeModel, publishText } from './stored-model.js';

/** The header of an object with the weights of a linear: its parts are weight, clamped weight, moments of outputs. */
interface LinearHeader {
  /** Name of the object with the statistics of its input. */
  readonly input: string;
  readonly shape: readonly number[];
  readonly clipped: boolean;
  readonly outputs: readonly NamedTensor[];
  readonly activation?: ActivationScheme;
  readonly routed: boolean;
}

function packLinear({ planned, weight, clipped, outputs, routed }: SolverInputs, input: string): Uint8Array {
  const moments = outputs ? Object.entries(outputMoments.serialize(outputs)) : [];
  return packParts<LinearHeader>({
    header: {
      ...{ input, shape: weight.shape, clipped: clipped !== weight, routed },
      outputs: moments.map((each) => described(...each)),
      ...(planned.activation ? { activation: planned.activation } : {}),
    },
    parts: [weight, ...(clipped === weight ? [] : [clipped]), ...moments.map(([, tensor]) => tensor)].map(bytesOf),
  });
}

/**
 * Lets the workers of a queue solve linears of a calibrated run. This process runs the model and collects statistics;
 * the store has them until the linears of an input are solved.
 */
export async function remoteSolver(
  run: QueueRun,
  { request, rules, kernels }: RemoteQuantization,
  plan: Plan,
): Promise<RemoteSolver> {
  const { store } = run;
  const model = await publishText(store, await describeModel(plan.checkpoint));
  const coordinator = await run.coordinate({
    ...{ kind: solveWork.name, version, kernels },
    ...describePlan(plan, { request, rules, model }),
  });
  // Inputs are removed after use: two runs of one store must not remove each other's.
  const own = randomBytes(16).toString('hex');
  let objects = 0;
  const publish = async (bytes: Uint8Array) => {
    const name = objectName('tensors', sumOfParts(own, `${objects++}`));
    await store.publish(name, bytes);
    return name;
  };
  return {
    async solve(inputs) {
      const [{ input }] = inputs;
      const { header, parts } = describeStatistics(input);
      const collected = packParts({ header, parts });
      const sum = sumOfParts(collected);
      const published: string[] = [];
      const solved: (RemoteModule | Job)[] = [];
      for (const each of inputs) {
        const unit = each.planned.linear.module;
        const identity = moduleIdentity(plan, each.planned);
        const id = sumOfParts('solve', version, kernels, identity, sum, sumOfParts(packLinear(each, '')));
        const earlier = await earlierLinear(store, { id, unit });
        if (!earlier && published.length === 0) published.push(await publish(collected));
        const linear = earlier ? undefined : await publish(packLinear(each, published[0]));
        if (linear !== undefined) published.push(linear);
        solved.push(earlier ?? { id, unit, inputs: linear });
      }
      await coordinator.add(solved.filter((each) => 'id' in each));
      const modules: RemoteModule[] = [];
      for (const each of solved) modules.push('id' in each ? await linearOf(coordinator, each) : each);
      for (const name of published) await store.remove(name);
      return modules;
    },
    close: () => coordinator.close(),
  };
}

/** Solves linears of a calibrated run for the process that runs the model. */
export const solveWork: JobKind = {
  name: 'solve',
  async open(run, { store, vocabulary, compute: { kernels } }) {
    const { checkpoint, plan } = await openPlannedRun(run, store, vocabulary);
    const context = createContext({ kernels, seed: plan.recipe.seed });
    const kinds = statisticsByName(plan);
    // Linears of an input follow each other.
    let last: { readonly name: string; readonly input: CollectedInput } | undefined;
    return {
      compute: (unit, inputs = '') =>
        linearResult(async () => {
          const planned = plan.modules.get(unit);
          if (!planned) throw new StoreError(`${unit}: the recipe of the job quantizes no such linear`);
          const { header, parts } = await readParts<LinearHeader>(store, inputs, `the weight of ${unit}`);
          if (last?.name !== header.input) last = { name: header.input, input: await readInput(header.input, unit) };
          const floats = (part: Uint8Array): Tensor<'f32'> => ({
            ...{ dtype: 'f32', shape: header.shape, data: viewBytes('f32', part) },
          });
          const weight = floats(parts[0]);
          const clipped = header.clipped ? floats(parts[1]) : weight;
          const moments = tensorsOf(header.outputs, parts.slice(header.clipped ? 2 : 1));
          const outputs: OutputMomentsState | undefined =
            header.outputs.length > 0 ? outputMoments.deserialize(moments) : undefined;
          const { activation, routed } = header;
          const solver: SolverInputs = {
            planned: { ...planned, ...(activation ? { activation } : {}) },
            ...{ weight, clipped, input: last.input, routed },
            ...(outputs ? { outputs } : {}),
          };
          return computeSolved(plan, solver, context);
        }),
      close: () => checkpoint.close(),
    };

    async function readInput(name: string, unit: string): Promise<CollectedInput> {
      const { header, parts } = await readParts<StatisticsHeader>(store, name, `the statistics of ${unit}`);
      const { states, kinds: found } = statesOf(header, parts, kinds, name);
      return { tokens: header.tokens, kinds: found, statistics: statisticsOf(states, unit) };
    }
  },
};

const statisticsOf = (states: ReadonlyMap<string, unknown>, unit: string): Statistics => ({
  get<State>({ name }: Statistic<State>): State {
    if (!states.has(name)) throw new CalibrationError(`${unit}: statistic ${name} was not collected`);
    return states.get(name) as State;
  },
  has: ({ name }) => states.has(name),
});
