import type {
  Activation,
  ExpertDescription,
  LinearDescription,
  Runtime,
  ScalableEdge,
  Stage,
  StageState,
} from '@q/core';
import { linear } from './linear-description.js';

/** The part of a block after the attention: computes the sum for the residual stream from the second norm's output. */
export interface FeedForward {
  readonly linears: readonly LinearDescription[];
  /** Matrices that are not quantized (a router), with their shapes. */
  readonly kept: readonly [name: string, shape: readonly number[]][];
  /** Modules that read the norm's output: linears, then the router, which only gets scaled. */
  readonly readers: readonly string[];
  /** Linears whose output is added to the residual stream, as it is or weighted. */
  readonly outputs: readonly string[];
  /** Edges inside; the edge of the norm is made from `readers`. */
  readonly edges: readonly ScalableEdge[];
  readonly fusionGroups: readonly (readonly string[])[];
  readonly experts?: readonly ExpertDescription[];
  /** Parts of the state in addition to `input` that the first stage reads: the tokens of each expert. */
  route?<T>(runtime: Runtime<T>, input: T): Record<string, T>;
  readonly stages: readonly Stage[];
}

/** Adds an output to the residual stream, after a norm or a factor. */
export type AddToResidual = <T>(runtime: Runtime<T>, residual: T, output: T) => T;

const plainSum: AddToResidual = (runtime, residual, output) => runtime.ops.add(residual, output);

/** How a stage's output is added to the stream; as it is when undefined. */
export function addition(changed: AddToResidual | undefined): {
  readonly flags: Pick<Stage, 'addsToResidual' | 'addsChanged'>;
  readonly add: AddToResidual;
} {
  return changed ? { flags: { addsChanged: true }, add: changed } : { flags: { addsToResidual: true }, add: plainSum };
}

export interface MlpOptions {
  readonly hidden: number;
  readonly intermediate: number;
  readonly activation: Activation;
  readonly bias: boolean;
  /** Set if the output is not added as it is. */
  readonly add?: AddToResidual | undefined;
}

/** `down(activation(gate(x)) * up(x))` */
export function gatedMlp(prefix: string, options: MlpOptions): FeedForward {
  const { hidden, intermediate, activation, bias } = options;
  const [gate, up, down] = ['gate', 'up', 'down'].map((name) => `${prefix}.${name}_proj`) as [string, string, string];
  return {
    linears: [
      linear(gate, hidden, intermediate, bias, 'gate'),
      linear(up, hidden, intermediate, bias, 'up'),
      linear(down, intermediate, hidden, bias, 'down'),
    ],
    kept: [],
    readers: [gate, up],
    outputs: [down],
    edges: [{ id: 'up->down', producer: { kind: 'linear', module: up }, consumers: [down] }],
    fusionGroups: [[gate, up]],
    stages: [
      {
        name: 'mlp',
        linears: [gate, up],
        run(runtime, { residual, input }) {
          const gated = runtime.ops.activation(activation, runtime.linear(gate, input));
          return { residual, input: runtime.ops.mul(gated, runtime.linear(up, input)) };
        },
      },
      outputStage(down, options.add),
    ],
  };
}

/** The gated MLP with gate and up in one linear: the gate's rows, then those of up (Phi-3). */
export function fusedGatedMlp(prefix: string, options: MlpOptions): FeedForward {
  const { hidden, intermediate, activation, bias } = options;
  const [gateUp, down] = [`${prefix}.gate_up_proj`, `${prefix}.down_proj`];
  return {
    linears: [
      linear(gateUp, hidden, 2 * intermediate, bias, 'gate', 'up'),
      linear(down, intermediate, hidden, bias, 'down'),
    ],
    kept: [],
    readers: [gateUp],
    outputs: [down],
    edges: [
      {
        id: 'up->down',
        producer: { kind: 'linear', module: gateUp, rows: [intermediate, 2 * intermediate] },
        consumers: [down],
      },
    ],
    fusionGroups: [],
    stages: [
      {
        name: 'mlp',
        linears: [gateUp],
        run<T>(runtime: Runtime<T>, { residual, input }: StageState<T>) {
          const { ops } = runtime;
          const [gate, up] = ops.split(runtime.linear(gateUp, input), [intermediate, intermediate]) as [T, T];
          return { residual, input: ops.mul(ops.activation(activation, gate), up) };
        },
      },
      outputStage(down, options.add),
    ],
  };
}

/** `down(activation(up(x)))` */
export function plainMlp(up: string, down: string, options: MlpOptions): FeedForward {
  const { hidden, intermediate, activation, bias } = options;
  return {
    linears: [linear(up, hidden, intermediate, bias, 'up'), linear(down, intermediate, hidden, bias, 'down')],
    kept: [],
    readers: [up],
    outputs: [down],
    // Only relu commutes with a positive factor.
    edges:
      activation === 'relu'
        ? [{ id: 'up->down', producer: { kind: 'linear', module: up }, consumers: [down], through: 'relu' }]
        : [],
    fusionGroups: [],
    stages: [
      {
        name: 'mlp',
        linears: [up],
        run: (runtime, { residual, input }) => ({
          residual,
          input: runtime.ops.activation(activation, runtime.linear(up, input)),
        }),
      },
      outputStage(down, options.add),
    ],
  };
}

function outputStage(down: string, changed: AddToResidual | undefined): Stage {
  const { flags, add } = addition(changed);
  return {
    name: 'mlp output',
    linears: [down],
    ...flags,
    run(runtime, { residual, input }) {
      const sum = add(runtime, residual, runtime.linear(down, input));
      return { residual: sum, input: sum };
    },
  };
}
