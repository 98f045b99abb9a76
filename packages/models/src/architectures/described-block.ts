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

/** A block, with further data that its model needs. */
export interface DescribedBlock {
  readonly block: BlockDescription;
  /** Its tensors with their shapes in the file. */
  readonly tensors: readonly (readonly [name: string, shape: readonly number[]])[];
  /** Norms between a linear and the sum. */
  readonly norms: readonly NormDescription[];
  /** Linears that read the stream without a norm. */
  readonly readers: readonly string[];
}

type Tensors = readonly (readonly [name: string, shape: readonly number[]])[];

/** All blocks of a model. */
export interface DescribedBlocks {
  readonly blocks: readonly BlockDescription[];
  /** Tensors of all blocks with their shapes, between those of `before` and `after`. */
  tensorsBetween(before: Tensors, after: Tensors): ReadonlyMap<string, readonly number[]>;
  norms(): readonly NormDescription[];
  readers(): readonly string[];
}

/** More blocks than in any published model. A full description takes 9 kB a block: 44,444 took 4 s and 400 MB. */
const mostDescribed = 1000;

/**
 * Describes the blocks of a model.
 * @param alike true when all blocks have the same linears and tensors except for their prefix, and no experts. With
 *   more than 1,000 such blocks only names and shapes are made at once, and the rest of a block on request, since a
 *   file of hundreds of thousands of tensors may have that many
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
    tensorsBetween: (before, after) => {
      const all = new Map(before);
      for (const { tensors } of described) for (const [name, shape] of tensors) all.set(name, shape);
      for (const [name, shape] of after) all.set(name, shape);
      return all;
    },
    norms: () => described.flatMap(({ norms }) => norms),
    readers: () => described.flatMap(({ readers }) => readers),
  };
}

function outlinedBlocks(count: number, describe: (index: number) => DescribedBlock): DescribedBlocks {
  const first = describe(0);
  const blocks = Array.from({ length: count }, (_, index) => new OutlinedBlock(index, first, describe));
  return {
    blocks,
    tensorsBetween: (before, after) => new OutlinedTensors(first, count, new Map(before), new Map(after)),
    norms: () => blocks.flatMap((block) => block.described().norms),
    readers: () => blocks.flatMap((block) => block.described().readers),
  };
}

/**
 * A Map of the tensors of similar blocks, with those of the model before and after them. It makes names of blocks on
 * request, and reads a name as the number of a block and the name of a tensor of the first one.
 */
class OutlinedTensors implements ReadonlyMap<string, readonly number[]> {
  /** `model.layers.` */
  private readonly root: string;
  /** Shapes in a block by `.mlp.up_proj.weight`. */
  private readonly inBlock: ReadonlyMap<string, readonly number[]>;
  readonly size: number;

  constructor(
    first: DescribedBlock,
    private readonly count: number,
    private readonly before: ReadonlyMap<string, readonly number[]>,
    private readonly after: ReadonlyMap<string, readonly number[]>,
  ) {
    const { prefix } = first.block;
    this.root = prefix.replace(/0$/, '');
    this.inBlock = new Map(first.tensors.map(([name, shape]) => [name.slice(prefix.length), shape]));
    this.size = before.size + count * this.inBlock.size + after.size;
  }

  get(name: string): readonly number[] | undefined {
    const { root } = this;
    if (!name.startsWith(root)) return this.before.get(name) ?? this.after.get(name);
    const end = name.indexOf('.', root.length);
    const digits = name.slice(root.length, Math.max(end, root.length));
    const index = Number(digits);
    return index < this.count && `${index}` === digits ? this.inBlock.get(name.slice(end)) : undefined;
  }

  has(name: string): boolean {
    return this.get(name) !== undefined;
  }

  *entries(): MapIterator<[string, readonly number[]]> {
    yield* this.before;
    for (let index = 0; index < this.count; index++)
      for (const [name, shape] of this.inBlock) yield [`${this.root}${index}${name}`, shape];
    yield* this.after;
  }

  [Symbol.iterator](): MapIterator<[string, readonly number[]]> {
    return this.entries();
  }

  *keys(): MapIterator<string> {
    for (const [name] of this.entries()) yield name;
  }

  *values(): MapIterator<readonly number[]> {
    for (const [, shape] of this.entries()) yield shape;
  }

  forEach(
    each: (shape: readonly number[], name: string, all: ReadonlyMap<string, readonly number[]>) => void,
    self?: unknown,
  ): void {
    for (const [name, shape] of this.entries()) each.call(self, shape, name, this);
  }
}

/** The name in another block: `model.layers.0.mlp.up_proj` -> `model.layers.7.mlp.up_proj`. */
const renamed = (name: string, { block }: DescribedBlock, prefix: string): string =>
  prefix + name.slice(block.prefix.length);

/** A block with known names and shapes; the rest is described on request. */
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
    // Written out, since a spread takes ten times as long.
    this.own ??= this.first.block.linears.map(({ module, roles = [], inFeatures, outFeatures, transposed, bias }) => ({
      module: this.renamed(module),
      roles,
      inFeatures,
      outFeatures,
      transposed,
      bias,
    }));
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

  /** Made of the first block's: a plan asks for the heads of all layers, to say what their cache takes. */
  get attention(): AttentionDescription | undefined {
    const { attention } = this.first.block;
    if (!attention) return undefined;
    const { value, output, norms } = attention;
    return {
      ...attention,
      value: { ...value, module: this.renamed(value.module) },
      output: this.renamed(output),
      ...(norms ? { norms: norms.map((name) => this.renamed(name)) } : {}),
    };
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
