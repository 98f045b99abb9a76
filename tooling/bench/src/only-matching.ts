import type { Comparison } from './benchmark.js';

/** The comparison with only those contenders whose names match `pattern`, and their sizes of a growth. */
export function onlyMatching(comparison: Comparison, pattern: RegExp): Comparison {
  const { contenders, growth } = comparison;
  const left = contenders.map(({ name }) => pattern.test(name));
  return {
    ...comparison,
    contenders: contenders.filter((_, i) => left[i]),
    ...(growth ? { growth: { ...growth, sizes: growth.sizes.filter((_, i) => left[i]) } } : {}),
  };
}
