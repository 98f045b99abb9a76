import type { Activation, ExpertDescription, LinearDescription, Runtime, ScalableEdge, Stage } from '@q/core';
import { linear } from './linear-description.js';

/** What follows the attention in a block: from the second norm's output to what is added to the residual stream. */
export interface FeedForward {
  readonly linears: readonly LinearDescription[];
  /** Matrices that are not quantized (a router), with their shapes. */
  readonly kept: readonly [name: string, shape: readonly number[]][];
  /** Modules that read the norm's output: linears, then the router, which stays as it is but for its scale. */
  readonly readers: readonly string[];
  /** Linears whose output is added to the residual stream, as it is or weighed. */
  readonly outputs: readonly string[];
  /** Edges inside; the norm's own is made from `readers`. */
  readonly edges: readonly ScalableEdge[];
  readonly fusionGroups: readonly (readonly string[])[];
  readonly experts?: readonly ExpertDescription[];
  /** Parts of the state beside `input` that the first stage reads: which tokens go to which expert. */
  route?<T>(runtime: Runtime<T>, input: T): Record<string, T>;
  readonly stages: readonly Stage[];
}

/** `down(activation(gate(x)) * up(x))` */
export function gatedMlp(
  prefix: string,
  hidden: number,
  intermediate: number,
  activation: Activation,
  bias: boolean,
): FeedForward {
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
      {
        name: 'mlp output',
        linears: [down],
        addsToResidual: true,
        run(runtime, { residual, input }) {
          const sum = runtime.ops.add(residual, runtime.linear(down, input));
          return { residual: sum, input: sum };
        },
      },
    ],
  };
}
