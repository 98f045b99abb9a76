import {
  dequantize,
  encodeF16,
  f16Scale,
  type Ops,
  type QuantizedTensor,
  type RuntimeWrapper,
  SchemeError,
  ShapeError,
  type Tensor,
  tensor,
  toF32,
} from '@q/core';

/** One set of frozen integers and the scales of several tasks. */
export interface Tasks {
  /** The current task. The first one is `base`: the scales that came with the integers. */
  readonly current: string;
  readonly names: readonly string[];
  /**
   * Adds a task with scales by module name. Modules without scales use those of `base`.
   * @throws ShapeError naming the module whose scales have another shape, or that does not exist
   */
  add(name: string, scales: ReadonlyMap<string, Float32Array>): void;
  /** Makes a task's scales the current ones. Codes and zero points do not change. */
  use(name: string): void;
  /** A module with the current task's scales. Its codes are the same array for every task. */
  quantized(module: string): QuantizedTensor;
  /** A task for a file: f16 scales by `MODULE.scales`, where they differ from the base's. */
  save(name: string): Map<string, Tensor<'f16'>>;
  /** Adds a task from the result of `save`. */
  load(name: string, tensors: ReadonlyMap<string, Tensor>): void;
  /** Weights of a forward pass with the current task. They are made on first use, and again after `use`. */
  wrapper<T>(ops: Ops<T>): RuntimeWrapper<T> & { dispose(): void };
}

/**
 * PEQA's deployment (arXiv 2305.14152, section 3): tasks share the integers of a model, and a task is a scale vector of
 * a few kilobytes. Switching tasks exchanges scales.
 * @param base quantized linears by module name
 */
export function tasks(base: ReadonlyMap<string, QuantizedTensor>): Tasks {
  const known = new Map<string, ReadonlyMap<string, Float32Array>>([['base', new Map()]]);
  let current = 'base';
  let version = 0;
  const find = (name: string): ReadonlyMap<string, Float32Array> => {
    const found = known.get(name);
    if (found) return found;
    throw new SchemeError(`there is no task "${name}": known are ${[...known.keys()].join(', ')}`);
  };
  const moduleBase = (module: string): QuantizedTensor => {
    const found = base.get(module);
    if (found) return found;
    throw new ShapeError(
      `the task has scales for ${module}, which the model does not have: it belongs to another model`,
    );
  };
  const quantized = (module: string): QuantizedTensor => {
    const own = moduleBase(module);
    const scales = find(current).get(module);
    return scales ? { ...own, scales, storedScales: { effective: scales } } : own;
  };
  return {
    get current() {
      return current;
    },
    get names() {
      return [...known.keys()];
    },
    add(name, scales) {
      if (name === 'base')
        throw new SchemeError('"base" names the scales that the model came with: choose another name');
      for (const [module, values] of scales) {
        const { length } = moduleBase(module).scales;
        if (values.length !== length)
          throw new ShapeError(
            `the task has ${values.length} scales for ${module}, the model ${length}: use a task of this shape and group size`,
          );
      }
      known.set(name, new Map([...scales].map(([module, values]) => [module, f16Scale.store(values).effective])));
      if (name === current) version++;
    },
    use(name) {
      find(name);
      if (name !== current) version++;
      current = name;
    },
    quantized,
    save(name) {
      const out = new Map<string, Tensor<'f16'>>();
      for (const [module, scales] of find(name)) {
        const own = moduleBase(module).scales;
        if (scales.every((s, i) => s === own[i])) continue;
        out.set(`${module}.scales`, tensor('f16', [scales.length], encodeF16(scales)));
      }
      return out;
    },
    load(name, tensors) {
      this.add(
        name,
        new Map([...tensors].map(([key, values]) => [key.replace(/\.scales$/, ''), toF32(values).slice()])),
      );
    },
    wrapper<T>(ops: Ops<T>) {
      const handles = new Map<string, T>();
      let of = version;
      const dispose = () => {
        for (const handle of handles.values()) ops.dispose(handle);
        handles.clear();
      };
      return {
        weight(name: string, inner: (name: string) => T): T {
          const module = name.replace(/\.weight$/, '');
          if (!name.endsWith('.weight') || !base.has(module)) return inner(name);
          if (of !== version) dispose();
          of = version;
          let handle = handles.get(name);
          if (handle === undefined) {
            handle = ops.keep(ops.fromTensor(dequantize(quantized(module))));
            handles.set(name, handle);
          }
          return handle;
        },
        dispose,
      };
    },
  };
}
