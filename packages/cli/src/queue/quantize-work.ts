import { createContext } from '@q/core';
import { type Job, sumOfParts } from '@q/distributed';
import { computeModule, moduleIdentity, type RemoteModules, rewriteModel } from '@q/pipeline';
import { version } from '../version.js';
import type { JobKind } from './job-kind.js';
import { linearOf, linearResult } from './linear-result.js';
import { describePlan, openPlannedRun } from './planned-run.js';
import type { QueueRun } from './queue-run.js';
import type { RemoteQuantization } from './remote-run.js';
import { publishText, type StoredModel, storeModel } from './stored-model.js';

/** Lets the workers of a queue quantize the linears of a data-free plan. */
export function remoteModules(run: QueueRun, { request, rules, kernels }: RemoteQuantization): RemoteModules {
  const { store, command } = run;
  const { signal } = command;
  let storing: Promise<StoredModel> | undefined;
  return async function* remote(plan, modules) {
    storing ??= storeModel(plan.checkpoint, store, { signal, progress: command.terminal.progress });
    const stored = await storing;
    const model = await publishText(store, stored);
    const sums = new Map(stored.tensors.map(({ name, sum }) => [name, sum]));
    const whole = (plan.recipe.transforms?.length ?? 0) > 0;
    const jobs = modules.map((planned): Job => {
      const unit = planned.linear.module;
      const source = (whole ? undefined : sums.get(`${unit}.weight`)) ?? model;
      return { id: sumOfParts('quantize', version, kernels, moduleIdentity(plan, planned), source), unit };
    });
    const coordinator = await run.coordinate({
      ...{ kind: quantizeWork.name, version, kernels },
      ...describePlan(plan, { request, rules, model }),
    });
    try {
      await coordinator.add(jobs);
      for (const job of jobs) yield await linearOf(coordinator, job);
    } finally {
      await coordinator.close();
    }
  };
}

/** Quantizes linears of a data-free run for the process that writes the folder. */
export const quantizeWork: JobKind = {
  name: 'quantize',
  async open(run, { store, vocabulary, compute: { kernels } }) {
    const { checkpoint, plan } = await openPlannedRun(run, store, vocabulary);
    const context = createContext({ kernels, seed: plan.recipe.seed });
    const source = rewriteModel(checkpoint, plan.recipe, kernels);
    return {
      compute: (unit) => linearResult(() => computeModule(plan, source, unit, context)),
      close: () => checkpoint.close(),
    };
  },
};
