import { create } from '@bufbuild/protobuf';
import { encodeF16, SchemeError } from '@q/core';
import type { Payload } from '../file/payload.js';
import { type ElementType, elementTypes } from '../proto/element-type.js';
import {
  type AttributeProto,
  attributeTypes,
  type GraphProto,
  type ModelProto,
  type NodeProto,
  schemas,
  type TensorProto,
} from '../proto/schema.js';
import type { GraphValue, Size } from './graph-value.js';
import { refuseF16Values } from './refuse-f16.js';

/** An integer attribute of a node; a plain number is a float. */
export interface Integers {
  readonly int: number | readonly number[];
}

type AttributeValue = number | string | Integers;

export interface NodeOptions {
  readonly attributes?: Readonly<Record<string, AttributeValue>>;
  readonly domain?: string;
  /** Names of the outputs; new ones when absent. */
  readonly outputs?: readonly (string | undefined)[];
}

/** Description of a node's output: the type of its elements and its sizes. */
export type Described = Pick<GraphValue, 'type' | 'sizes'>;

/** The domain of onnxruntime's operators that are not in ONNX. */
export const contrib = 'com.microsoft';

export const int = (value: number | readonly number[]): Integers => ({ int: value });

/**
 * A graph under construction. Nodes are written in the order in which they are added. Constants of equal content are
 * one initializer.
 */
export class Graph {
  readonly payloads: Payload[] = [];
  readonly #graph: GraphProto;
  readonly #constants = new Map<string, GraphValue>();
  readonly #stored = new Map<string, GraphValue>();
  /** The number of requests for a base, so that the next free number is found quickly. */
  readonly #names = new Map<string, number>();
  readonly #given = new Set<string>();
  readonly #objects = new Map<object, string>();
  readonly #made = new Map<string, unknown>();

  /**
   * @param tensor gives a tensor of the checkpoint, as floats of a type
   * @param prefix of the names of nodes and constants
   */
  constructor(
    name: string,
    readonly tensor: (name: string, type: 'f32' | 'f16') => GraphValue = () => {
      throw new SchemeError('this graph has no checkpoint');
    },
    readonly prefix = '',
  ) {
    this.#graph = create(schemas.graph, { name }) as GraphProto;
  }

  get nodes(): readonly NodeProto[] {
    return this.#graph.node;
  }

  get constants(): readonly TensorProto[] {
    return this.#graph.initializer;
  }

  input(name: string, type: ElementType, sizes: readonly Size[]): GraphValue {
    this.#graph.input.push(describeValue(name, type, sizes));
    return { name, type, sizes };
  }

  output({ name, type, sizes }: GraphValue): void {
    this.#graph.output.push(describeValue(name, type, sizes));
  }

  /** A node with one output. An `undefined` input is an optional one that is absent. */
  node(
    opType: string,
    inputs: readonly (GraphValue | undefined)[],
    gives: Described,
    options: NodeOptions = {},
  ): GraphValue {
    return this.nodeOf(opType, inputs, [gives], options)[0]!;
  }

  /** A node with several outputs; `undefined` outputs are not needed. */
  nodeOf(
    opType: string,
    inputs: readonly (GraphValue | undefined)[],
    gives: readonly (Described | undefined)[],
    { attributes = {}, domain = '', outputs: names = [] }: NodeOptions = {},
  ): GraphValue[] {
    const name = this.fresh(opType);
    const outputs = gives.map((each, index) => {
      if (!each) return { name: '', type: 'f32' as const, sizes: [] };
      const own = names[index] ?? (index === 0 ? name : `${name}_output_${index}`);
      return { name: own, type: each.type, sizes: each.sizes };
    });
    this.#graph.node.push(
      this.describe(
        opType,
        inputs.map((value) => value?.name ?? ''),
        outputs.map((value) => value.name),
        { attributes, domain },
        name,
      ),
    );
    return outputs;
  }

  /** A node that is not in the graph. */
  describe(
    opType: string,
    input: string[],
    output: string[],
    { attributes = {}, domain = '' }: NodeOptions,
    name = output[0]!,
  ): NodeProto {
    const attribute = Object.entries(attributes).map(([key, value]) => describeAttribute(key, value));
    return create(schemas.node, { name, opType, domain, input, output, attribute }) as NodeProto;
  }

  /** Replaces a node by another one. */
  replace(node: NodeProto, by: NodeProto): void {
    this.#graph.node[this.#graph.node.lastIndexOf(node)] = by;
  }

  /** 64-bit integers: shapes, axes, positions. A scalar if `values` is one number. */
  integers(values: number | readonly number[]): GraphValue {
    const list = typeof values === 'number' ? [values] : values;
    const bytes = new Uint8Array(BigInt64Array.from(list, BigInt).buffer);
    return this.#constant(
      'i64',
      typeof values === 'number' ? [] : [list.length],
      bytes,
      list.length > 6 ? 'list' : `i${list.join('_')}`,
    );
  }

  /** A scalar. */
  number(value: number, type: 'f32' | 'f16' | 'i32' | 'u8'): GraphValue {
    const data = {
      f32: () => Float32Array.of(value),
      f16: () => encodeF16(Float32Array.of(value)),
      i32: () => Int32Array.of(value),
      u8: () => Uint8Array.of(value),
    }[type]();
    return this.#constant(type, [], new Uint8Array(data.buffer), `${type}_${value}`);
  }

  #constant(type: ElementType, dims: readonly number[], rawData: Uint8Array, words: string): GraphValue {
    const key = `${type} ${dims} ${rawData}`;
    let found = this.#constants.get(key);
    if (!found) {
      const name = this.fresh(`constant_${words}`);
      found = { name, type, sizes: dims };
      this.#graph.initializer.push(
        create(schemas.tensor, {
          ...{ name, rawData },
          dataType: elementTypes[type].id,
          dims: dims.map(BigInt),
        }) as GraphProto['initializer'][number],
      );
      this.#constants.set(key, found);
    }
    return found;
  }

  /** Tensors whose bytes are made when the file is written. A tensor with an existing name is that tensor. */
  store(payload: Payload): GraphValue[] {
    const present = payload.tensors.map(({ name }) => this.#stored.get(name));
    if (present.every((value) => value !== undefined)) return present as GraphValue[];
    this.payloads.push(payload);
    return payload.tensors.map(({ name, type, dims }) => {
      const value = { name, type, sizes: dims };
      this.#stored.set(name, value);
      return value;
    });
  }

  /** f32 or f16 values of a known length. */
  storeFloats(
    name: string,
    type: 'f32' | 'f16',
    dims: readonly number[],
    make: () => Promise<Float32Array>,
  ): GraphValue {
    const [value] = this.store({
      tensors: [{ name, type, dims }],
      async make() {
        const values = await make();
        if (type === 'f16') refuseF16Values(name, values, false);
        return [floatBytes(type, values)];
      },
    });
    return value!;
  }

  /** A value as floats of a type: a tensor of the checkpoint, or another value cast. */
  floats(value: GraphValue, type: 'f32' | 'f16'): GraphValue {
    return value.weight === undefined ? this.cast(value, type) : this.tensor(value.weight, type);
  }

  cast(value: GraphValue, type: ElementType): GraphValue {
    if (value.type === type) return value;
    const key = `cast ${value.name} ${type}`;
    const found = this.#constants.get(key);
    if (found) return found;
    const made = this.node(
      'Cast',
      [value],
      { type, sizes: value.sizes },
      { attributes: { to: int(elementTypes[type].id) } },
    );
    this.#constants.set(key, made);
    return made;
  }

  /** The result of `make`, with its nodes; only the first call runs it. */
  once<T>(key: string, make: () => T): T {
    if (!this.#made.has(key)) this.#made.set(key, make());
    return this.#made.get(key) as T;
  }

  /** Sizes of axes of a value, as integers `[count]`. */
  sizesOf(value: GraphValue, start: number, end: number): GraphValue {
    const key = `shape ${value.name} ${start} ${end}`;
    let found = this.#constants.get(key);
    if (!found) {
      const attributes = { start: int(start), end: int(end) };
      found = this.node('Shape', [value], { type: 'i64', sizes: [end - start] }, { attributes });
      this.#constants.set(key, found);
    }
    return found;
  }

  /** A name for an object, the same one each time. */
  nameOf(object: object, base: string): string {
    const found = this.#objects.get(object) ?? this.fresh(base);
    this.#objects.set(object, found);
    return found;
  }

  /** A unique name: `base`, or the first unused one of `base_1`, `base_2`, ... */
  fresh(base: string): string {
    let count = this.#names.get(base) ?? 0;
    let name = count === 0 ? base : `${base}_${count}`;
    // The second `constant_i1` and the first list of two ones would both be `constant_i1_1`.
    while (this.#given.has(name)) name = `${base}_${++count}`;
    this.#names.set(base, count + 1);
    this.#given.add(name);
    return `${this.prefix}${name}`;
  }

  /** The model, complete except for the payloads. */
  model(
    producer: { readonly name: string; readonly version: string },
    metadata: ReadonlyMap<string, string>,
  ): ModelProto {
    const domains = new Set(this.#graph.node.map(({ domain }) => domain));
    return create(schemas.model, {
      // Opset 21 has blocked DequantizeLinear and all other operators used here; 10 is its version of the format.
      irVersion: 10n,
      opsetImport: [{ domain: '', version: 21n }, ...(domains.has(contrib) ? [{ domain: contrib, version: 1n }] : [])],
      producerName: producer.name,
      producerVersion: producer.version,
      graph: this.#graph,
      metadataProps: [...metadata].map(([key, value]) => ({ key, value })),
    }) as unknown as ModelProto;
  }
}

export function floatBytes(type: 'f32' | 'f16', values: Float32Array): Uint8Array {
  const data = type === 'f32' ? values : encodeF16(values);
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

function describeValue(name: string, type: ElementType, sizes: readonly Size[]): GraphProto['input'][number] {
  const dim = sizes.map((size) => (typeof size === 'number' ? { dimValue: BigInt(size) } : { dimParam: size }));
  return create(schemas.valueInfo, {
    name,
    type: { tensorType: { elemType: elementTypes[type].id, shape: { dim } } },
  }) as GraphProto['input'][number];
}

function describeAttribute(name: string, value: AttributeValue): AttributeProto {
  const { float, int, string, ints } = attributeTypes;
  const fields =
    typeof value === 'number'
      ? { type: float, f: value }
      : typeof value === 'string'
        ? { type: string, s: new TextEncoder().encode(value) }
        : typeof value.int === 'number'
          ? { type: int, i: BigInt(value.int) }
          : { type: ints, ints: value.int.map(BigInt) };
  return create(schemas.attribute, { name, ...fields }) as AttributeProto;
}
