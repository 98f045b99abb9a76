import { type RequantizedTensor, type RequantizePlan, staysAs } from './requantize-plan.js';

/**
 * The matrices of a plan that do not get the types which the rules chose, in one sentence for users: how many, why, and
 * their types instead. Types that a mix or llama-quantize choose on purpose do not count.
 * @returns undefined when every matrix fits
 */
export function describeUnfitRows({ tensors }: Pick<RequantizePlan, 'tensors'>): string | undefined {
  const matrices = tensors.filter(({ from }) => staysAs(from) === undefined);
  const unfit = matrices.flatMap((each) => (each.unfit ? [{ ...each, unfit: each.unfit }] : []));
  if (unfit.length === 0) return undefined;
  const wanted = new Set(unfit.map(({ unfit: { name } }) => name));
  const rows = numbers(unfit.map(({ from: { shape } }) => shape[shape.length - 1]));
  const blocks = numbers(unfit.map(({ unfit: { values } }) => values));
  return (
    `${unfit.length} of ${matrices.length} matrices ${are(unfit.length)} not ${[...wanted].join(' or ')}: ` +
    `rows of ${rows} values are not multiples of ${wanted.size === 1 ? 'its block' : 'their blocks'} of ${blocks}: ` +
    countedTypes(unfit)
  );
}

/** `20 are Q5_0, 8 Q8_0` */
function countedTypes(tensors: readonly RequantizedTensor[]): string {
  const counts = new Map<string, number>();
  for (const { to } of tensors) counts.set(to.name, (counts.get(to.name) ?? 0) + 1);
  const [[name, count], ...others] = counts;
  return [`${count} ${are(count)} ${name}`, ...others.map(([other, times]) => `${times} ${other}`)].join(', ');
}

/** `128 and 352` */
const numbers = (values: readonly number[]): string => [...new Set(values)].sort((a, b) => a - b).join(' and ');

const are = (count: number): string => (count === 1 ? 'is' : 'are');
