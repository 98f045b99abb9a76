import { type CacheSite, type Ops, type Runtime, type RuntimeWrapper, ShapeError } from '@q/core';

export interface RuntimeOptions {
  /** Names that are aliases of another tensor (`model.ties`). */
  readonly ties?: ReadonlyMap<string, string>;
}

/** A runtime whose parts call each other through `self`, the outermost wrapper. */
interface Layer<T> {
  readonly ops: Ops<T>;
  readonly start?: number;
  weight(name: string, self: Runtime<T>): T;
  has(name: string): boolean;
  linear(module: string, x: T, self: Runtime<T>): T;
  query(block: number, x: T, self: Runtime<T>): T;
  cache(site: CacheSite, x: T, self: Runtime<T>): T;
}

const layers = new WeakMap<object, Layer<any>>();

/**
 * The plain runtime: weights by name; `linear` applies the weight and, if there is one, the bias.
 * @throws ShapeError on use, naming the tensor that `weights` does not have
 */
export function createRuntime<T>(
  ops: Ops<T>,
  weights: { get(name: string): T | undefined },
  options: RuntimeOptions = {},
): Runtime<T> {
  const find = (name: string): T | undefined => {
    const tied = options.ties?.get(name);
    return weights.get(name) ?? (tied === undefined ? undefined : weights.get(tied));
  };
  return bind({
    ops,
    weight(name) {
      const found = find(name);
      if (found === undefined) throw new ShapeError(`the runtime has no tensor "${name}": it was not loaded`);
      return found;
    },
    has: (name) => find(name) !== undefined,
    linear(module, x, self) {
      const bias = `${module}.bias`;
      return ops.linear(x, self.weight(`${module}.weight`), self.has(bias) ? self.weight(bias) : undefined);
    },
    query: (_block, x) => x,
    cache: (_site, x) => x,
  });
}

/**
 * A runtime with replaced parts. Wrappers compose; the outermost one is called first. A replaced weight also reaches
 * the `linear` of the inner runtime, which gets its weight through the outermost wrapper.
 */
export function wrapRuntime<T>(runtime: Runtime<T>, wrapper: RuntimeWrapper<T>): Runtime<T> {
  const inner = layerOf(runtime);
  return bind({
    ops: wrapper.ops ?? inner.ops,
    start: wrapper.start ?? inner.start,
    weight(name, self) {
      const plain = (asked: string) => inner.weight(asked, self);
      return wrapper.weight ? wrapper.weight(name, plain, self) : plain(name);
    },
    has: inner.has,
    linear(module, x, self) {
      const plain = (asked: string, input: T) => inner.linear(asked, input, self);
      return wrapper.linear ? wrapper.linear(module, x, plain, self) : plain(module, x);
    },
    query(block, x, self) {
      const plain = (asked: number, input: T) => inner.query(asked, input, self);
      return wrapper.query ? wrapper.query(block, x, plain, self) : plain(block, x);
    },
    cache(site, x, self) {
      const plain = (asked: CacheSite, input: T) => inner.cache(asked, input, self);
      return wrapper.cache ? wrapper.cache(site, x, plain, self) : plain(site, x);
    },
  });
}

function bind<T>(layer: Layer<T>): Runtime<T> {
  const runtime: Runtime<T> = {
    ops: layer.ops,
    start: layer.start,
    weight: (name) => layer.weight(name, runtime),
    has: (name) => layer.has(name),
    linear: (module, x) => layer.linear(module, x, runtime),
    query: (index, x) => layer.query(index, x, runtime),
    cache: (site, x) => layer.cache(site, x, runtime),
  };
  layers.set(runtime, layer);
  return runtime;
}

/**
 * The layer of a runtime made here. A runtime made elsewhere cannot call the outermost wrapper, and is used as it is.
 */
function layerOf<T>(runtime: Runtime<T>): Layer<T> {
  return (
    layers.get(runtime) ?? {
      ops: runtime.ops,
      start: runtime.start,
      weight: (name) => runtime.weight(name),
      has: (name) => runtime.has(name),
      linear: (module, x) => runtime.linear(module, x),
      query: (index, x) => runtime.query(index, x),
      cache: (site, x) => runtime.cache(site, x),
    }
  );
}
