/** A linear of a large model: its size, its number in a block, and the share of all tokens that each of them sees. */
export interface ShapedLinear {
  readonly outFeatures: number;
  readonly inFeatures: number;
  readonly count: number;
  /** 1, or the number of experts that a token visits divided by the number of experts. */
  readonly share: number;
  /** Stage of the block. The inputs of a stage's linears are known at the same time. */
  readonly stage: number;
  /** Linears of one stage with the same key read the same input: they share a Gram matrix. */
  readonly input: string;
}

interface ShapedBlocks {
  readonly blocks: number;
  readonly linears: readonly ShapedLinear[];
}

/** Sizes of a model, for simulations that need no weights. */
export interface LargeModel {
  readonly name: string;
  readonly parts: readonly ShapedBlocks[];
  /** Weights outside of the linears of blocks, which are copied: embeddings and head. */
  readonly copied: number;
}

function linear(
  outFeatures: number,
  inFeatures: number,
  stage: number,
  input: string,
  { count = 1, share = 1 }: { readonly count?: number; readonly share?: number } = {},
): ShapedLinear {
  return { outFeatures, inFeatures, count, share, stage, input };
}

/** Llama 3 70B, by its config.json. */
const dense70: LargeModel = {
  name: '70B',
  parts: [
    {
      blocks: 80,
      linears: [
        linear(8192, 8192, 0, 'attention'),
        linear(1024, 8192, 0, 'attention', { count: 2 }),
        linear(8192, 8192, 1, 'output'),
        linear(28672, 8192, 2, 'mlp', { count: 2 }),
        linear(8192, 28672, 3, 'down'),
      ],
    },
  ],
  copied: 2 * 128256 * 8192,
};

/** Multi-head latent attention of DeepSeek-V3. */
const latentAttention = [
  linear(1536, 7168, 0, 'attention'),
  linear(576, 7168, 0, 'attention'),
  linear(24576, 1536, 1, 'query'),
  linear(32768, 512, 1, 'key value'),
  linear(7168, 16384, 2, 'output'),
];

/** DeepSeek-V3 (671B), by its config.json: 256 experts, of which a token visits 8, and a shared one. */
const experts671: LargeModel = {
  name: '671B (experts)',
  parts: [
    {
      blocks: 3,
      linears: [...latentAttention, linear(18432, 7168, 3, 'mlp', { count: 2 }), linear(7168, 18432, 4, 'down')],
    },
    {
      blocks: 58,
      linears: [
        ...latentAttention,
        linear(2048, 7168, 3, 'shared', { count: 2 }),
        linear(2048, 7168, 3, 'experts', { count: 512, share: 8 / 256 }),
        linear(7168, 2048, 4, 'shared down'),
        linear(7168, 2048, 4, 'experts down', { count: 256, share: 8 / 256 }),
      ],
    },
  ],
  copied: 2 * 129280 * 7168,
};

export const largeModels: readonly LargeModel[] = [dense70, experts671];

/** Number of weights of all linears of blocks. */
export const weightsOf = ({ parts }: LargeModel): number =>
  parts.reduce(
    (sum, { blocks, linears }) =>
      sum + blocks * linears.reduce((inner, each) => inner + each.count * each.outFeatures * each.inFeatures, 0),
    0,
  );
