import { type Activation, FormatError, type LinearDescription, type Runtime, type StageState } from '@q/core';
import type { FeedForward } from './feed-forward.js';
import { linear } from './linear-description.js';
import { addRows, routeTokens } from './routing.js';

export interface MixtureOptions {
  /** `model.layers.0.block_sparse_moe`: holds `gate` (the router) and `experts.0` and up. */
  readonly prefix: string;
  readonly hidden: number;
  readonly intermediate: number;
  readonly activation: Activation;
  readonly experts: number;
  /** Experts that each token goes to. */
  readonly perToken: number;
  /** Weights of a token's experts add up to 1. */
  readonly normalize: boolean;
  /** Names of an expert's linears: `w1`, `w3`, `w2` or `gate_proj`, `up_proj`, `down_proj`. */
  readonly names: { readonly gate: string; readonly up: string; readonly down: string };
  /** An expert that sees every token, weighed by `sigmoid(shared_expert_gate(x))`. */
  readonly shared?: { readonly intermediate: number };
}

/**
 * A sparse mixture of gated MLPs: `sum over the chosen experts of weight * expert(x)`. The router stays as it is. Each
 * expert is computed on the rows of its own tokens alone, so that is also what its linears are calibrated with.
 */
export function mixtureOfExperts(options: MixtureOptions): FeedForward {
  const { prefix, hidden, intermediate, activation, experts: count, names } = options;
  const router = `${prefix}.gate`;
  const experts = Array.from({ length: count }, (_, index) => {
    const name = `${prefix}.experts.${index}`;
    const [gate, up, down] = [`${name}.${names.gate}`, `${name}.${names.up}`, `${name}.${names.down}`];
    return { name, gate, up, down, part: `expert.${index}`, linears: [gate, up, down] };
  });
  const shared = options.shared && sharedExpert(prefix, hidden, options.shared.intermediate);
  const linears: LinearDescription[] = [
    ...experts.flatMap(({ gate, up, down }) => [
      linear(gate, hidden, intermediate, false, 'gate'),
      linear(up, hidden, intermediate, false, 'up'),
      linear(down, intermediate, hidden, false, 'down'),
    ]),
    ...(shared?.linears ?? []),
  ];
  /** The parts of the experts that have tokens, run through one of their layers; which tokens they are stays. */
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
      ...(shared ? [[`${shared.gateOfAll}.weight`, [1, hidden]] as [string, number[]]] : []),
    ],
    readers: [
      ...(shared ? [shared.gate, shared.up] : []),
      ...experts.flatMap(({ gate, up }) => [gate, up]),
      router,
      ...(shared ? [shared.gateOfAll] : []),
    ],
    outputs: [...experts.map(({ down }) => down), ...(shared ? [shared.down] : [])],
    edges: [
      ...experts.map(({ up, down }, index) => ({
        id: `experts.${index}.up->down`,
        producer: { kind: 'linear' as const, module: up },
        consumers: [down],
      })),
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
    fusionGroups: [experts.flatMap(({ linears: own }) => own), ...(shared ? [[shared.gate, shared.up]] : [])],
    experts: experts.map(({ name, linears: own }) => ({ name, linears: own })),
    route(runtime, input) {
      const { ops } = runtime;
      const x = ops.reshape(input, [-1, hidden]);
      const logits = ops.linear(x, runtime.weight(`${router}.weight`));
      const parts = routeTokens(ops, x, logits, options.perToken, options.normalize);
      return shared ? { ...parts, sharedWeight: shared.weight(runtime, input) } : parts;
    },
    stages: [
      {
        name: 'experts',
        linears: [...experts.flatMap(({ gate, up }) => [gate, up]), ...(shared ? [shared.gate, shared.up] : [])],
        inputs: new Map(experts.flatMap(({ gate, up, part }) => [gate, up].map((module) => [module, part]))),
        run<T>(runtime: Runtime<T>, state: StageState<T>): StageState<T> {
          const { residual, input, sharedWeight } = state;
          const parts = perExpert(state, ({ gate, up }, x) => gated(runtime, gate, up, x));
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

/**
 * Refuses checkpoints that keep all experts of a layer in one 3-D tensor, as transformers 5 has them in memory.
 * @throws FormatError naming the tensor
 */
export function refuseStackedExperts(tensorNames: ReadonlySet<string> | undefined): void {
  for (const name of tensorNames ?? []) {
    if (/\.experts\.(gate_up_proj|down_proj|w1|w2|w3)(\.weight)?$/.test(name))
      throw new FormatError(
        `tensor ${name} holds all experts of a layer; one tensor for each expert was expected (…experts.0.…): load the model with transformers and write it with save_pretrained, which splits them`,
      );
  }
}
