/** The rows of `pnpm figures:real` for a published model, and their references. */
export interface RealRow {
  readonly name: string;
  /** Options of `q quantize`, without a calibration text if the method reads none. */
  readonly options: readonly string[];
  readonly calibrated: boolean;
  /** The most bytes of all tensors. */
  readonly mostBytes: number;
  /** The smallest allowed mean cosine of sentence embeddings to the original's. */
  readonly leastCosine?: number;
  /** The largest allowed KL divergence to the original, as a share of the last peer's. */
  readonly shareOfPeer?: number;
}

export interface RealModel {
  /** Folder in `QUANT_REAL`. */
  readonly folder: string;
  readonly title: string;
  /**
   * Files of llama.cpp's types, by options of `q convert`. Their blocks equal llama.cpp's byte by byte (docs/gguf.md).
   */
  readonly peers?: readonly { readonly name: string; readonly options: readonly string[] }[];
  readonly rows: readonly RealRow[];
}

const plain = ['--layout', 'plain', '--no-eval', '--json'];
const gptq = (...options: readonly string[]) => ['--method', 'gptq', ...options, ...plain];

export const realModels: readonly RealModel[] = [
  {
    folder: 'minilm-l6',
    title: 'all-MiniLM-L6-v2',
    rows: [
      {
        // The linears lose more than the table does, so they get more bits.
        name: '5 bits, embeddings 3',
        options: gptq('--bits', '5', '--group', '64', '--embeddings', 'int3 g32', '--head', 'int8 g128'),
        calibrated: true,
        mostBytes: 13e6,
        leastCosine: 0.99,
      },
      {
        name: '8 bits, embeddings 6',
        options: [
          ...['--method', 'rtn', '--weights', 'int8 g128', '--embeddings', 'int6 g64', '--head', 'int8 g128'],
          ...plain,
        ],
        calibrated: false,
        mostBytes: 23e6,
        leastCosine: 0.999,
      },
    ],
  },
  {
    folder: 'smollm2-135m',
    title: 'SmolLM2-135M-Instruct',
    rows: [
      {
        name: '4 bits',
        options: gptq('--bits', '4', '--group', '64', '--embeddings', 'int4 g32'),
        calibrated: true,
        mostBytes: 75e6,
      },
      {
        name: '3 bits, embeddings 4',
        options: gptq('--bits', '3', '--group', '96', '--embeddings', 'int4 g32'),
        calibrated: true,
        mostBytes: 60e6,
      },
    ],
  },
  {
    folder: 'gemma3-270m',
    title: 'Gemma 3 270M',
    peers: [
      // The folder was decoded from a file of this type. Its values are on these grids, and rounding them again changes
      // almost nothing.
      { name: "llama.cpp's Q4_K_M", options: ['--type', 'q4_k_m'] },
      { name: "llama.cpp's Q4_0, table too", options: ['--type', 'q4_0', '--output', 'q4_0'] },
    ],
    rows: [
      {
        name: '4 bits',
        options: gptq('--bits', '4', '--group', '64', '--embeddings', 'int4 g32'),
        calibrated: true,
        mostBytes: 155e6,
        shareOfPeer: 0.5,
      },
    ],
  },
];
