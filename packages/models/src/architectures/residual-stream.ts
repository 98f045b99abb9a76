import type { BlockDescription, NormDescription, ResidualStream } from '@q/core';

/**
 * The residual stream of a pre-norm model, from what its blocks say already: norms and their consumers are the edges
 * whose producer is a norm, writers are the linears of the stages that add to the residual: as they are, or, in the last
 * stage of a block with experts, weighed.
 * @param finalNorm module between the last block and the head; the head reads the stream itself when there is none
 * @param head module of the output projection
 */
export function describeResidualStream(
  blocks: readonly BlockDescription[],
  kind: NormDescription['kind'],
  embeddings: readonly string[],
  finalNorm: string | undefined,
  head: string,
): ResidualStream {
  const norms = blocks.flatMap(({ edges }) =>
    edges
      .filter(({ producer }) => producer.kind === 'norm')
      .map(({ producer, consumers }): NormDescription => ({ module: producer.module, kind, consumers })),
  );
  return {
    embeddings,
    norms: finalNorm === undefined ? norms : [...norms, { module: finalNorm, kind, consumers: [head] }],
    readers: finalNorm === undefined ? [head] : [],
    writers: blocks.flatMap(({ stages }) =>
      stages.filter((stage) => stage.addsToResidual || stage === stages.at(-1)).flatMap((stage) => stage.linears),
    ),
  };
}
