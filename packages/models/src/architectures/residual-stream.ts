import type { BlockDescription, NormDescription, ResidualStream } from '@q/core';

/** Differences of a model's stream from a pre-norm one. */
export interface ResidualStreamOptions {
  readonly embeddings: readonly string[];
  readonly kind: NormDescription['kind'];
  /** Module between the last block and the head; when undefined the head reads the stream itself. */
  readonly finalNorm: string | undefined;
  /** Module of the output projection. */
  readonly head: string;
  /** The gain of norms is 1 + weight. */
  readonly gainOffset?: 1;
  /** Norms that no linear reads: those between a linear and the sum, or after the sum. */
  readonly others?: readonly NormDescription[];
  /** Linears of the blocks that read the stream without a norm. */
  readonly readers?: readonly string[];
}

/**
 * The residual stream of a model, from the descriptions of its blocks. The norms and their consumers are the edges
 * whose producer is a norm. The writers are the linears of the stages that add to the residual: as they are, or
 * weighted in the last stage of a block with experts.
 */
export function describeResidualStream(
  blocks: readonly BlockDescription[],
  options: ResidualStreamOptions,
): ResidualStream {
  const { embeddings, kind, finalNorm, head, gainOffset, others = [], readers = [] } = options;
  const norm = (module: string, consumers: readonly string[]): NormDescription => ({
    module,
    kind,
    consumers,
    ...(gainOffset ? { gainOffset } : {}),
  });
  const norms = blocks.flatMap(({ edges }) =>
    edges
      .filter(({ producer }) => producer.kind === 'norm')
      .map(({ producer, consumers }) => norm(producer.module, consumers)),
  );
  return {
    embeddings,
    norms: [...norms, ...others, ...(finalNorm === undefined ? [] : [norm(finalNorm, [head])])],
    readers: [...readers, ...(finalNorm === undefined ? [head] : [])],
    writers: blocks.flatMap(({ stages }) =>
      stages
        .filter((stage) => stage.addsToResidual || stage.addsChanged || stage === stages.at(-1))
        .flatMap((stage) => stage.linears),
    ),
  };
}
