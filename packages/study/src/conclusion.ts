import type { WidthSummary } from './local-global.js';

/**
 * The results of a study in sentences for users, one for each number of bits: the method with the lowest loss, the
 * difference, and whether a lower layer error meant a lower loss. A rank correlation counts as aligned if its interval
 * is above 0.5, and as misaligned if the interval reaches below 0.
 * @param original the unquantized model's loss, in nats per token
 */
export function conclude(summaries: readonly WidthSummary[], original: number): readonly string[] {
  return summaries.map(({ bits, group, methods, misalignment, best }) => {
    const where = `${bits} bits, ${group === -1 ? 'one scale per channel' : `groups of ${group}`}`;
    const of = (objective: 'local' | 'global') =>
      methods
        .filter((method) => method.objective === objective)
        .sort((a, b) => a.nll.mean - b.nll.mean)
        .at(0);
    const [local, global] = [of('local'), of('global')];
    const gap = (nll: number) => `${nll - original >= 0 ? '+' : ''}${(nll - original).toFixed(4)}`;
    const compared =
      local && global
        ? `${global.nll.mean < local.nll.mean ? 'The global loss wins' : 'The local loss wins'}: ${global.method} ${gap(global.nll.mean)} and ${local.method} ${gap(local.nll.mean)} nats over the original.`
        : `${best.method} is lowest.`;
    // If the ranges over the seeds overlap, the order of the methods is not certain.
    const apart = local && global && (local.nll.max < global.nll.min || global.nll.max < local.nll.min);
    const doubt = local && global && !apart && local.seeds > 1 ? ' The ranges over the seeds overlap.' : '';
    return `${where}: ${compared}${doubt} ${alignment(misalignment)}`;
  });
}

function alignment({ value, interval, pairs }: WidthSummary['misalignment']): string {
  if (value === undefined) return `${pairs} runs are too few for a correlation.`;
  const shown = `${value.toFixed(2)}${interval ? ` [${interval[0].toFixed(2)}, ${interval[1].toFixed(2)}]` : ''}`;
  if (!interval) return `The rank correlation of layer error and loss is ${shown} over ${pairs} runs.`;
  if (interval[0] > 0.5) return `A lower layer error means a lower loss (rank correlation ${shown}, ${pairs} runs).`;
  if (interval[0] < 0)
    return `A lower layer error says little about the loss (rank correlation ${shown}, ${pairs} runs).`;
  return `A lower layer error often means a lower loss (rank correlation ${shown}, ${pairs} runs).`;
}
