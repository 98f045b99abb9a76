import type {
  AttentionDescription,
  BlockDescription,
  LinearDescription,
  NormDescription,
  Runtime,
  ScalableEdge,
  Stage,
  StageState,
} from '@q/core';

/** A block, and what its model has to know of it beside. */
export interface DescribedBlock {
  readonly block: BlockDescription;
  /** Its tensors with their shapes in the file. */
  readonly tensors: readonly (readonly [name: string, shape: readonly number[]])[];
  /** Norms between a linear and the sum. */
  readonly norms: readonly NormDescription[];
  /** Linears that read the stream without a norm. */
  readonly readers: readonly string[];
}

/** All blocks of a model. */
export interface DescribedBlocks {
  readonly blocks: readonly BlockDescription[];
  /** Tensors of all blocks with their shapes. */
  tensors(): Iterable<readonly [name: string, shape: readonly number[]]>;
  norms(): readonly NormDescription[];
  readers(): readonly string[];
}

/** More blocks than any published model has. All of them described take 9 kB each: 44,444 took 4 s and 400 MB. */
const mostDescribed = 1000;

/**
 * Describes the blocks of a model.
 * @param alike blocks have the same linears and tensors but for their prefix, and no experts. Then, of more than 1,000, only the names and shapes are
 *   made, and the rest of a block when it is asked for: a file of hundreds of thousands of tensors may have so many
 */
export function describeBlocks(
  count: number,
  alike: boolean,
  describe: (index: number) => DescribedBlock,
): DescribedBlocks {
  if (alike && count > mostDescribed) return outlinedBlocks(count, describe);
  const described = Array.from({ length: count }, (_, index) => describe(index));
  return {
    blocks: described.map(({ block }) => block),
    tensors: () => described.flatMap(({ tensors }) => tensors),
    norms: () => described.flatMap(({ norms }) => norms),
    readers: () => described.flatMap(({ readers }) => readers),
  };
}

function outlinedBlocks(count: number, describe: (index: number) => DescribedBlock): DescribedBlocks {
  const first = describe(0);
  const blocks = Array.from({ length: count }, (_, index) => new OutlinedBlock(index, first, describe));
  return {
    blocks,
    *tensors() {
      for (const { prefix } of blocks)
        for (const [name, shape] of first.tensors) yield [renamed(name, first, prefix), shape];
    },
    norms: () => blocks.flatMap((block) => block.described().norms),
    readers: () => blocks.flatMap((block) => block.described().readers),
  };
}

/** The name in another block: `model.layers.0.mlp.up_proj` -> `model.layers.7.mlp.up_proj`. */
const renamed = (name: string, { block }: DescribedBlock, prefix: string): string =>
  prefix + name.slice(block.prefix.length);

/** A block of which names and shapes are known; it is described when more is asked for. */
class OutlinedBlock implements BlockDescription {
  readonly prefix: string;
  private own: readonly LinearDescription[] | undefined = undefined;
  private whole: DescribedBlock | undefined = undefined;

  constructor(
    readonly index: number,
    private readonly first: DescribedBlock,
    private readonly describe: (index: number) => DescribedBlock,
  ) {
    this.prefix = first.block.prefix.replace(/0$/, `${index}`);
  }

  get linears(): readonly LinearDescription[] {
    this.own ??= this.first.block.linears.map((linear) => ({ ...linear, module: this.renamed(linear.module) }));
    return this.own;
  }

  get tensors(): readonly string[] {
    return this.first.block.tensors.map((name) => this.renamed(name));
  }

  get fusionGroups(): readonly (readonly string[])[] {
    return this.first.block.fusionGroups.map((group) => group.map((name) => this.renamed(name)));
  }

  get stages(): readonly Stage[] {
    return this.described().block.stages;
  }

  get edges(): readonly ScalableEdge[] {
    return this.described().block.edges;
  }

  get attention(): AttentionDescription {
    return this.described().block.attention as AttentionDescription;
  }

  get mlpOutputs(): readonly string[] {
    return this.described().block.mlpOutputs as readonly string[];
  }

  begin<T>(runtime: Runtime<T>, hidden: T): StageState<T> {
    return this.described().block.begin(runtime, hidden);
  }

  described(): DescribedBlock {
    this.whole ??= this.describe(this.index);
    return this.whole;
  }

  private renamed(name: string): string {
    return renamed(name, this.first, this.prefix);
  }
}
