/** How close a model is to its original. */
export type DivergenceLevel = 'same' | 'close' | 'changed' | 'wrong';

/** The assessment of a KL divergence. */
export interface DivergenceVerdict {
  readonly level: DivergenceLevel;
  /** One or two sentences for people. */
  readonly words: string;
}

/**
 * Upper ends of the levels in nats per token, with their descriptions. By Pinsker's inequality a model with a mean
 * divergence of KL samples at most `sqrt(KL / 2)` of its tokens differently from the original: 7 % at 0.01, 16 % at
 * 0.05, 32 % at 0.2. Above that the text is still fluent, but its content differs.
 */
const levels: readonly { readonly below: number; readonly level: DivergenceLevel; readonly words: string }[] = [
  {
    below: 0.01,
    level: 'same',
    words: 'the answers are those of the original, except where two words were nearly equal',
  },
  { below: 0.05, level: 'close', words: 'close to the original: good results of 4 bits are here' },
  {
    below: 0.2,
    level: 'changed',
    words: 'changed: other words in many places. Test your own task; more bits, smaller groups or kept modules help',
  },
  {
    below: Number.POSITIVE_INFINITY,
    level: 'wrong',
    words:
      'fluent but wrong: the text reads well and no longer says what the original says. Not a success: use more bits, smaller groups or keep layers',
  },
];

/**
 * Describes a mean KL divergence to the original in words.
 * @param kl nats per token, 0 or more
 */
export function judgeDivergence(kl: number): DivergenceVerdict {
  const { level, words } = levels.find(({ below }) => kl < below) ?? levels[levels.length - 1];
  const share = 100 * Math.min(1, Math.sqrt(Math.max(0, kl) / 2));
  const percent = share < 1 ? share.toPrecision(1) : share.toFixed(0);
  return { level, words: `${words} (at most ${percent} % of sampled tokens differ)` };
}
