import type { Ops, Runtime } from '@q/core';
import { createRuntime, wrapRuntime } from '@q/models';
import type { GraphMatrix } from '../matrices/matrix.js';
import type { GraphValue } from './graph-value.js';

export interface GraphModel {
  /** Shapes of the tensors in memory, by their names in the checkpoint. */
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  /** Linears by module. */
  matrix(module: string): GraphMatrix;
  bias(module: string): GraphValue | undefined;
  /** f32 values of a tensor. */
  read(name: string): Promise<Float32Array>;
}

/** The runtime with which forward passes write a graph: a linear becomes a product in the form of its matrix. */
export function createGraphRuntime(ops: Ops<GraphValue>, model: GraphModel): Runtime<GraphValue> {
  const weights = {
    get(name: string): GraphValue | undefined {
      const sizes = model.shapes.get(name);
      return sizes && weightValue(name, sizes, () => model.read(name));
    },
  };
  return wrapRuntime(createRuntime(ops, weights), {
    linear: (module, x) => model.matrix(module).product(x, model.bias(module)),
    cache: (site, x) => (site.stage === 'beforeRope' ? x : marked(x, site.block)),
  });
}

/** A tensor of the checkpoint; each user requests the form that it needs. */
const weightValue = (name: string, sizes: readonly number[], constant: () => Promise<Float32Array>): GraphValue => ({
  get name(): string {
    throw new Error(`the tensor ${name} was used without asking for a form of it`);
  },
  ...{ type: 'f32', sizes, weight: name, constant },
});

/** The value with its layer; its node is still written as late as possible. */
const marked = (x: GraphValue, layer: number): GraphValue => ({
  get name() {
    return x.name;
  },
  ...{ type: x.type, sizes: x.sizes, layer },
  ...(x.rotated ? { rotated: x.rotated } : {}),
});
