import { readFile } from 'node:fs/promises';
import { create, fromBinary } from '@bufbuild/protobuf';
import { FormatError, type ProgressEvent, tensor } from '@q/core';
import type { FileOptions } from '@q/durable-files';
import type { Payload } from '../file/payload.js';
import { type WrittenModel, writeModel } from '../file/write-model.js';
import { Graph } from '../graph/graph.js';
import { transposeValues } from '../matrices/float-matrix.js';
import type { GraphMatrix, MatrixForm } from '../matrices/matrix.js';
import type { MatrixForms } from '../onnx-type.js';
import { elementTypes } from '../proto/element-type.js';
import {
  type GraphProto,
  type ModelProto,
  type NodeProto,
  type OperatorSetId,
  schemas,
  type TensorProto,
} from '../proto/schema.js';
import { floatsOf, type TensorBytes, tensorBytes } from './tensor-values.js';

export interface QuantizeFileOptions extends FileOptions {
  /** Forms of multiplied matrices (`linears`) and of looked-up ones (`embeddings`). */
  readonly forms: Pick<MatrixForms, 'linears' | 'embeddings'>;
  /** Matrices of fewer values stay as they are. Default 1024. */
  readonly minimum?: number;
  /** A model of more bytes has its tensors in separate files of at most 2 GB. Default 1 GB. */
  readonly modelFileBytes?: number;
  readonly signal?: AbortSignal;
  readonly progress?: (event: ProgressEvent) => void;
}

export interface QuantizedFile extends WrittenModel {
  /** Matrices that became codes, by name. */
  readonly quantized: readonly string[];
  /** Matrices with a use that codes do not support, with the reason. */
  readonly kept: readonly { readonly name: string; readonly why: string }[];
}

/** One use of a constant matrix by a node. */
interface Use {
  readonly graph: GraphProto;
  readonly node: NodeProto;
  /** Gather, or a product whose matrix is stored `[in, out]` or `[out, in]`. */
  readonly kind: 'rows' | 'in-out' | 'out-in';
}

/**
 * Quantizes the constant matrices of any ONNX model that MatMul, Gemm and Gather read, without data: they become
 * MatMulNBits and GatherBlockQuantized of onnxruntime. All other parts of the file stay as they are.
 * @throws FormatError when the file is not ONNX, or no node of it can be quantized
 * @throws WriteError when a file cannot be written
 */
export async function quantizeFile(
  input: string,
  output: string,
  options: QuantizeFileOptions,
): Promise<QuantizedFile> {
  const { forms, minimum = 1024, modelFileBytes = 1e9, files, signal, progress } = options;
  const model = await readModel(input);
  const bytes = tensorBytes(input);
  const scopes = graphsOf(model.graph!);
  const uses = findUses(scopes);
  const quantized: string[] = [];
  const kept: { name: string; why: string }[] = [];
  const payloads: Payload[] = [];
  const outputs = new Set(scopes.flatMap((graph) => graph.output.map(({ name }) => name)));
  for (const graph of scopes) {
    for (const initializer of [...graph.initializer]) {
      const { name, dims, dataType } = initializer;
      const own = uses.get(name);
      if (dims.length !== 2 || !own || dims[0]! * dims[1]! < minimum) continue;
      const why = outputs.has(name) ? 'it is an output' : refusal(own, dims.map(Number), dataType);
      if (why !== undefined) {
        kept.push({ name, why });
        continue;
      }
      for (const [index, group] of groupUses(own as Use[]).entries()) {
        const form = group.some(({ kind }) => kind === 'rows') ? forms.embeddings : forms.linears;
        payloads.push(...replaceUses(initializer, group, form, bytes, index));
      }
      graph.initializer.splice(graph.initializer.indexOf(initializer), 1);
      // Old files also list tensors among the inputs.
      graph.input = graph.input.filter((input) => input.name !== name);
      quantized.push(name);
    }
  }
  if (quantized.length === 0)
    throw new FormatError(
      `${input}: no MatMul, Gemm or Gather of it reads a constant matrix of floats that can be quantized${kept[0] ? ` (${kept[0].name}: ${kept[0].why})` : ''}`,
    );
  removeUnused(scopes);
  if (!model.opsetImport.some(({ domain }) => domain === 'com.microsoft'))
    model.opsetImport.push(create(schemas.operatorSet, { domain: 'com.microsoft', version: 1n }) as OperatorSetId);
  payloads.push(...(await storedTensors(model.graph!, bytes)));
  const total = payloads
    .flatMap(({ tensors }) => tensors)
    .reduce((sum, { dims, type }) => sum + dims.reduce((a, b) => a * b, elementTypes[type].bytes), 0);
  const written = await writeModel(output, model, payloads, {
    ...{ files, signal, progress },
    ...(total > modelFileBytes ? { externalBytes: 2e9 } : {}),
  });
  return { ...written, quantized, kept };
}

async function readModel(path: string): Promise<ModelProto> {
  const content = await readFile(path).catch((error) => {
    throw new FormatError(`${path}: cannot be read (${error.code})`);
  });
  try {
    const model = fromBinary(schemas.model, content) as ModelProto;
    if (model.graph && model.graph.node.length > 0) return model;
  } catch (error) {
    throw new FormatError(`${path}: is not an ONNX model (${(error as Error).message})`);
  }
  throw new FormatError(`${path}: is not an ONNX model: it has no graph with nodes`);
}

/** The graph and those inside of its nodes (If, Loop), which can read its tensors. */
function graphsOf(graph: GraphProto): GraphProto[] {
  const inner = graph.node.flatMap(({ attribute }) =>
    attribute.flatMap(({ g, graphs }) => [...(g ? [g] : []), ...graphs]),
  );
  return [graph, ...inner.flatMap(graphsOf)];
}

/** Uses of each name by every node; a use that codes do not support is `undefined`. */
function findUses(scopes: readonly GraphProto[]): Map<string, (Use | undefined)[]> {
  const uses = new Map<string, (Use | undefined)[]>();
  const note = (name: string, use: Use | undefined) => uses.set(name, [...(uses.get(name) ?? []), use]);
  const turned = new Map<string, string>();
  for (const graph of scopes)
    for (const node of graph.node) {
      const perm = node.attribute.find(({ name }) => name === 'perm')?.ints.map(Number);
      if (node.opType === 'Transpose' && (perm === undefined || `${perm}` === '1,0'))
        turned.set(node.output[0]!, node.input[0]!);
    }
  for (const graph of scopes)
    for (const node of graph.node) {
      if (node.opType === 'Transpose' && turned.has(node.output[0]!)) continue;
      for (const [place, name] of node.input.entries()) {
        const source = turned.get(name);
        const kind = kindOf(node, place);
        if (source === undefined) note(name, kind && { graph, node, kind });
        else note(source, kind === 'in-out' ? { graph, node, kind: 'out-in' } : undefined);
      }
    }
  return uses;
}

function kindOf(node: NodeProto, place: number): Use['kind'] | undefined {
  if (node.domain !== '' && node.domain !== 'ai.onnx') return undefined;
  const attribute = (name: string) => node.attribute.find((each) => each.name === name);
  if (node.opType === 'Gather') return place === 0 && (attribute('axis')?.i ?? 0n) === 0n ? 'rows' : undefined;
  if (place !== 1) return undefined;
  if (node.opType === 'MatMul') return 'in-out';
  const plain = (attribute('alpha')?.f ?? 1) === 1 && (attribute('beta')?.f ?? 1) === 1 && !attribute('transA')?.i;
  return node.opType === 'Gemm' && plain ? (attribute('transB')?.i ? 'out-in' : 'in-out') : undefined;
}

function refusal(own: readonly (Use | undefined)[], dims: readonly number[], dataType: number): string | undefined {
  if (dataType !== elementTypes.f32.id && dataType !== elementTypes.f16.id) return 'its values are no f32 or f16';
  if (own.some((use) => use === undefined)) return 'another kind of node reads it too';
  if (own.some((use) => use?.kind === 'rows') && dims[1]! % 32 !== 0) return `rows of ${dims[1]} are no blocks of 32`;
  const products = new Set(own.map((use) => use!.kind).filter((kind) => kind !== 'rows'));
  return products.size > 1 ? 'products read it both ways' : undefined;
}

/** Groups of uses that one tensor serves: rows that are looked up, and products with these rows. */
function groupUses(uses: readonly Use[]): (readonly Use[])[] {
  const rows = uses.filter(({ kind }) => kind === 'rows');
  const products = uses.filter(({ kind }) => kind !== 'rows');
  if (rows.length === 0 || products.length === 0 || products[0]!.kind === 'out-in') return [uses];
  return [rows, products];
}

/** Replaces the nodes that read a matrix by the nodes of a form. */
function replaceUses(
  initializer: TensorProto,
  uses: readonly Use[],
  form: MatrixForm,
  bytes: TensorBytes,
  index: number,
): readonly Payload[] {
  const type = initializer.dataType === elementTypes.f32.id ? 'f32' : 'f16';
  const [first, second] = initializer.dims.map(Number) as [number, number];
  const turned = uses.some(({ kind }) => kind === 'in-out');
  const [rows, columns] = turned ? [second, first] : [first, second];
  const part = new Graph('part', undefined, `${initializer.name}/`);
  const matrix: GraphMatrix = form.add(
    { graph: part, type, portable: false, tensorBytes: Number.MAX_SAFE_INTEGER },
    {
      ...{ name: index === 0 ? initializer.name : `${initializer.name}_${index}`, rows, columns },
      async floats() {
        const values = floatsOf(await bytes.of(initializer), initializer.dataType);
        return tensor('f32', [rows, columns], turned ? transposeValues(values, first, second) : values);
      },
    },
    { rows: uses.some(({ kind }) => kind === 'rows'), product: uses.some(({ kind }) => kind !== 'rows') },
  );
  let before = 0;
  for (const { graph, node, kind } of uses) {
    const value = (name: string, valueType: 'i64' | 'f32' | 'f16') => ({
      name,
      type: valueType,
      sizes: ['axes' as const],
    });
    const result =
      kind === 'rows'
        ? part.cast(matrix.lookUp(value(node.input[1]!, 'i64')), type)
        : matrix.product(value(node.input[0]!, type), gemmBias(node) ? value(node.input[2]!, type) : undefined);
    const made = part.nodes.slice(before);
    before = part.nodes.length;
    const last = made.at(-1)!;
    last.output[last.output.indexOf(result.name)] = node.output[0]!;
    graph.node.splice(graph.node.indexOf(node), 1, ...made);
  }
  const root = uses[0]!.graph;
  root.initializer.push(...part.constants);
  return part.payloads;
}

const gemmBias = (node: NodeProto): boolean => node.opType === 'Gemm' && !!node.input[2];

/** Removes transposed copies that nothing reads any more. */
function removeUnused(scopes: readonly GraphProto[]): void {
  const read = new Set(
    scopes.flatMap(({ node, output }) => [...node.flatMap(({ input }) => input), ...output.map(({ name }) => name)]),
  );
  for (const graph of scopes)
    graph.node = graph.node.filter(
      ({ opType, output }) => opType !== 'Transpose' || output.some((name) => read.has(name)),
    );
}

const typeOf = new Map(
  Object.entries(elementTypes).map(([name, { id }]) => [id as number, name as keyof typeof elementTypes]),
);

/** Large tensors of the graph that stay, and tensors in other files: copied on writing. */
async function storedTensors(graph: GraphProto, bytes: TensorBytes): Promise<Payload[]> {
  const payloads: Payload[] = [];
  const small: TensorProto[] = [];
  for (const initializer of graph.initializer) {
    const { name, dims, dataType } = initializer;
    const type = typeOf.get(dataType);
    const elsewhere = initializer.dataLocation === 1;
    if (type && (elsewhere || initializer.rawData.length >= 16384))
      payloads.push({
        tensors: [{ name, type, dims: dims.map(Number) }],
        make: async () => [await bytes.of(initializer)],
      });
    else {
      if (elsewhere) {
        initializer.rawData = await bytes.of(initializer);
        initializer.externalData = [];
        initializer.dataLocation = 0;
      }
      small.push(initializer);
    }
  }
  graph.initializer = small;
  return payloads;
}
