import {
  type Activation,
  FormatError,
  type LinearDescription,
  type Runtime,
  type ScalableEdge,
  type StageState,
  type TensorStacks,
} from '@q/core';
import type { ConfigReader } from '../config-reader.js';
import type { FeedForward } from './feed-forward.js';
import { linear } from './linear-description.js';
import { addRows, routeTokens } from './routing.js';

export interface MixtureOptions {
  /** `model.layers.0.block_sparse_moe`: contains `gate` (the router) and `experts.0` and up. */
  readonly prefix: string;
  readonly hidden: number;
  readonly intermediate: number;
  readonly activation: Activation;
  readonly experts: number;
  /** Number of experts for each token. */
  readonly perToken: number;
  /** Weights of a token's experts add up to 1. */
  readonly normalize: boolean;
  /** Names of an expert's linears: `w1`, `w3`, `w2` or `gate_proj`, `up_proj`, `down_proj`. */
  readonly names: ExpertNames;
  /** For experts that are not a gated MLP of three linears. */
  readonly expert?: (name: string, sizes: ExpertSizes) => Expert;
  /** Name of the router below `prefix`; `gate` without a bias when absent. */
  readonly router?: { readonly name: string; readonly bias: boolean };
  /** An expert that sees every token, weighted by `sigmoid(shared_expert_gate(x))`. */
  readonly shared?: { readonly intermediate: number };
}

export interface ExpertNames {
  readonly gate: string;
  readonly up: string;
  readonly down: string;
}

export type ExpertSizes = Pick<MixtureOptions, 'hidden' | 'intermediate' | 'activation'>;

/** One expert: computes the input of its last linear from its tokens. */
export interface Expert {
  readonly linears: readonly LinearDescription[];
  /** Its linears that read tokens. */
  readonly readers: readonly string[];
  readonly down: string;
  readonly edges: readonly Omit<ScalableEdge, 'id'>[];
  inner<T>(runtime: Runtime<T>, x: T): T;
}

function gatedExpert(name: string, names: ExpertNames, sizes: ExpertSizes): Expert {
  const { hidden, intermediate, activation } = sizes;
  const [gate, up, down] = [`${name}.${names.gate}`, `${name}.${names.up}`, `${name}.${names.down}`];
  return {
    linears: [
      linear(gate, hidden, intermediate, false, 'gate'),
      linear(up, hidden, intermediate, false, 'up'),
      linear(down, intermediate, hidden, false, 'down'),
    ],
    readers: [gate, up],
    down,
    edges: [{ producer: { kind: 'linear', module: up }, consumers: [down] }],
    inner: (runtime, x) =>
      runtime.ops.mul(runtime.ops.activation(activation, runtime.linear(gate, x)), runtime.linear(up, x)),
  };
}

/**
 * A sparse mixture of gated MLPs: `sum over the chosen experts of weight * expert(x)`. The router stays as it is. Each
 * expert computes only the rows of its own tokens, so its linears are calibrated with these.
 */
export function mixtureOfExperts(options: MixtureOptions): FeedForward {
  const { prefix, hidden, activation, experts: count, names } = options;
  const router = `${prefix}.${options.router?.name ?? 'gate'}`;
  const routerBias = options.router?.bias ? `${router}.bias` : undefined;
  const experts = Array.from({ length: count }, (_, index) => {
    const name = `${prefix}.experts.${index}`;
    const own = options.expert?.(name, options) ?? gatedExpert(name, names, options);
    return { ...own, name, part: `expert.${index}` };
  });
  const shared = options.shared && sharedExpert(prefix, hidden, options.shared.intermediate);
  const linears: LinearDescription[] = [...experts.flatMap((expert) => expert.linears), ...(shared?.linears ?? [])];
  /** Runs the parts of the experts that have tokens through one of their layers; the token indices stay. */
  const perExpert = <T>(state: StageState<T>, run: (expert: (typeof experts)[number], x: T) => T): Record<string, T> =>
    Object.fromEntries(
      experts
        .filter(({ part }) => state[part] !== undefined)
        .flatMap((expert) => [
          [expert.part, run(expert, state[expert.part]!)],
          ...['tokens', 'weights'].map((name) => [`${expert.part}.${name}`, state[`${expert.part}.${name}`]]),
        ]),
    );
  const gated = <T>(runtime: Runtime<T>, gate: string, up: string, x: T): T =>
    runtime.ops.mul(runtime.ops.activation(activation, runtime.linear(gate, x)), runtime.linear(up, x));
  return {
    linears,
    kept: [
      [`${router}.weight`, [count, hidden]],
      ...(routerBias === undefined ? [] : [[routerBias, [count]] as [string, number[]]]),
      ...(shared ? [[`${shared.gateOfAll}.weight`, [1, hidden]] as [string, number[]]] : []),
    ],
    readers: [
      ...(shared ? [shared.gate, shared.up] : []),
      ...experts.flatMap(({ readers }) => readers),
      router,
      ...(shared ? [shared.gateOfAll] : []),
    ],
    outputs: [...experts.map(({ down }) => down), ...(shared ? [shared.down] : [])],
    edges: [
      ...experts.flatMap(({ edges }, index) => edges.map((edge) => ({ id: `experts.${index}.up->down`, ...edge }))),
      ...(shared
        ? [
            {
              id: 'shared_expert.up->down',
              producer: { kind: 'linear' as const, module: shared.up },
              consumers: [shared.down],
            },
          ]
        : []),
    ],
    // Runtimes stack the experts of a layer and give the stack one scheme.
    fusionGroups: [experts.flatMap(modulesOf), ...(shared ? [[shared.gate, shared.up]] : [])],
    experts: experts.map((expert) => ({ name: expert.name, linears: modulesOf(expert) })),
    route(runtime, input) {
      const { ops } = runtime;
      const x = ops.reshape(input, [-1, hidden]);
      const bias = routerBias === undefined ? undefined : runtime.weight(routerBias);
      const logits = ops.linear(x, runtime.weight(`${router}.weight`), bias);
      const parts = routeTokens(ops, x, logits, options.perToken, options.normalize);
      return shared ? { ...parts, sharedWeight: shared.weight(runtime, input) } : parts;
    },
    stages: [
      {
        name: 'experts',
        linears: [...experts.flatMap(({ readers }) => readers), ...(shared ? [shared.gate, shared.up] : [])],
        inputs: new Map(experts.flatMap(({ readers, part }) => readers.map((module) => [module, part]))),
        run<T>(runtime: Runtime<T>, state: StageState<T>): StageState<T> {
          const { residual, input, sharedWeight } = state;
          const parts = perExpert(state, (expert, x) => expert.inner(runtime, x));
          return shared
            ? { residual, input: gated(runtime, shared.gate, shared.up, input), ...parts, sharedWeight: sharedWeight! }
            : { residual, input, ...parts };
        },
      },
      {
        name: 'experts output',
        linears: [...experts.map(({ down }) => down), ...(shared ? [shared.down] : [])],
        inputs: new Map(experts.map(({ down, part }) => [down, part])),
        run<T>(runtime: Runtime<T>, state: StageState<T>): StageState<T> {
          const { ops } = runtime;
          let sum = state.residual;
          if (shared) sum = ops.add(sum, ops.mul(runtime.linear(shared.down, state.input), state['sharedWeight']!));
          for (const { down, part } of experts) {
            const rows = state[part];
            if (rows === undefined) continue;
            const out = ops.mul(runtime.linear(down, rows), state[`${part}.weights`]!);
            sum = addRows(ops, sum, out, state[`${part}.tokens`]!);
          }
          return { residual: sum, input: sum };
        },
      },
    ],
  };
}

const modulesOf = ({ linears }: Expert): readonly string[] => linears.map(({ module }) => module);

function sharedExpert(prefix: string, hidden: number, intermediate: number) {
  const [gate, up, down] = ['gate', 'up', 'down'].map((name) => `${prefix}.shared_expert.${name}_proj`) as [
    string,
    string,
    string,
  ];
  const gateOfAll = `${prefix}.shared_expert_gate`;
  return {
    gate,
    up,
    down,
    gateOfAll,
    linears: [
      linear(gate, hidden, intermediate, false, 'gate'),
      linear(up, hidden, intermediate, false, 'up'),
      linear(down, intermediate, hidden, false, 'down'),
    ],
    /** `[batch, length, 1]` */
    weight: <T>(runtime: Runtime<T>, x: T): T =>
      runtime.ops.activation('sigmoid', runtime.ops.linear(x, runtime.weight(`${gateOfAll}.weight`))),
  };
}

/** Parts of an expert's linear by the ends of their stacks' names: `gate_up_proj_scale_inv` has scales of FP8 weights. */
const stackedParts: Readonly<Record<string, string>> = {
  '': 'weight',
  _scale_inv: 'weight_scale_inv',
  _activation_scale: 'activation_scale',
};

/**
 * Experts of a layer in tensors of three dimensions, as in transformers 5, in memory and in files on request:
 * `experts.gate_up_proj` `[experts, 2 * intermediate, hidden]` (rows of the gate, then those of up) and
 * `experts.down_proj` `[experts, hidden, intermediate]`; of FP8 weights (`FP8Experts` of transformers) also scales
 * `..._scale_inv` `[experts, rows of tiles, columns of tiles]`, and `..._activation_scale` `[experts]`. Files that we write
 * have a tensor for each expert, which every reader supports.
 * @param intermediate reads the intermediate size of an expert
 */
export function gatedExpertStacks(config: ConfigReader, names: ExpertNames, intermediate: () => number): TensorStacks {
  return {
    split(name, shape) {
      const found = /^(.*\.experts)\.(gate_up_proj|down_proj)(|_scale_inv|_activation_scale)$/.exec(name);
      if (!found) return undefined;
      const [, prefix, kind, suffix] = found;
      const hidden = config.positiveInteger('hidden_size');
      const [experts = 0, rows, columns] = shape;
      if (suffix === '_scale_inv' && kind === 'gate_up_proj') checkHalves(name, shape, config, intermediate());
      if (suffix === '' && (shape.length !== 3 || (kind === 'down_proj' ? rows : columns) !== hidden))
        throw new FormatError(
          `tensor ${name} has shape [${shape}]; ${kind === 'down_proj' ? `[experts, ${hidden}, intermediate]` : `[experts, 2 x intermediate, ${hidden}]`} was expected: load the model with transformers 5 and write it with save_pretrained`,
        );
      const parts = kind === 'down_proj' ? [names.down] : [names.gate, names.up];
      return Array.from({ length: experts }, (_, index) =>
        parts.map((part) => `${prefix}.${index}.${part}.${stackedParts[suffix as string]}`),
      );
    },
  };
}

/**
 * Scales of gate and up in one tensor are those of either: one for both, one for each, one a row, or rows of tiles of
 * which none has rows of both.
 */
function checkHalves(name: string, shape: readonly number[], config: ConfigReader, intermediate: number): void {
  const tile = config.object('quantization_config').integers('weight_block_size')?.[0];
  const [, rows] = shape;
  const halved = tile === undefined ? rows === 2 : intermediate % tile === 0 && rows === (2 * intermediate) / tile;
  if (shape.length === 3 && (rows === 1 || rows === 2 * intermediate || halved)) return;
  throw new FormatError(
    `tensor ${name} has shape [${shape}]: these scales are not those of gate and up apart, ${intermediate} rows each${tile === undefined ? '' : `, in tiles of ${tile} rows`}: write the model with a tensor for each expert (save_pretrained of transformers)`,
  );
}
