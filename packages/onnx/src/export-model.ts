import type { Checkpoint } from '@q/checkpoint';
import {
  languageModel,
  linearsOf,
  type ModelDescription,
  type QuantizedTensor,
  type RotaryTable,
  type Runtime,
  SchemeError,
} from '@q/core';
import { encode, forward, type SentenceModules } from '@q/models';
import { byteLength, type Payload } from './file/payload.js';
import {
  type AttentionWriter,
  encoderAttention,
  groupQueryAttention,
  plainAttention,
  refuseGroupQueryAttention,
} from './graph/attention.js';
import { Graph } from './graph/graph.js';
import { createGraphOps, tracedBatch, tracedIds } from './graph/graph-ops.js';
import { createGraphRuntime } from './graph/graph-runtime.js';
import type { GraphValue } from './graph/graph-value.js';
import { writeSentenceVector } from './graph/sentence-vector.js';
import { createSequence, type FloatType, type Sequence } from './graph/sequence.js';
import { lostHead } from './lost-head.js';
import { floatMatrix } from './matrices/float-matrix.js';
import type { GraphMatrix, MatrixSource, MatrixTarget, PackedSource } from './matrices/matrix.js';
import type { MatrixForms } from './onnx-type.js';
import type { ModelProto } from './proto/schema.js';

export interface ExportOptions extends MatrixForms {
  /** Type of the values inside of layers. The residual stream, the norms and the outputs are f32. */
  readonly type: FloatType;
  /** Use only ONNX's own operators. Default false: also onnxruntime's, if they are faster. */
  readonly portable?: boolean;
  /**
   * Number of positions in the tables of the file. Default: all of the model's. If the frequencies depend on the length
   * of a sequence (LongRoPE), as many as the frequencies of short sequences cover.
   */
  readonly context?: number;
  /** No matrix is stored in a tensor of more bytes. Default 128 MiB, the largest binding of a WebGPU device. */
  readonly tensorBytes?: number;
  /** For an encoder: the steps from its hidden states to the vector of a sentence, an additional output. */
  readonly sentence?: SentenceModules;
  readonly producer: { readonly name: string; readonly version: string };
}

/** A graph whose large tensors are made when it is written: `writeModel(path, model, payloads)`. */
export interface ExportedModel {
  readonly model: ModelProto;
  readonly payloads: readonly Payload[];
  /** Bytes of all of the payloads' tensors. */
  readonly bytes: number;
  /** Everything that differs from the options. */
  readonly notes: readonly string[];
}

/**
 * A model as a graph, with the names that transformers.js and onnxruntime-genai use. A decoder takes token ids, a mask
 * and the cache, and gives logits and the longer cache. An encoder gives `last_hidden_state`, or the `logits` of
 * a classifier of sequences or tokens. Existing codes of the checkpoint are kept.
 * @throws SchemeError naming the part that cannot be written as a graph, such as a head of another kind
 */
export async function exportModel(checkpoint: Checkpoint, options: ExportOptions): Promise<ExportedModel> {
  const { model } = checkpoint;
  if (!model) throw checkpoint.unknownArchitecture ?? new SchemeError('the model is of no known architecture');
  const lost = lostHead(checkpoint, options.sentence);
  const matrices = await collectMatrices(checkpoint, model);
  const write = (length: number) => {
    const traced = trace(checkpoint, model, matrices, length, options);
    return lost === undefined ? traced : { ...traced, notes: [lost, ...traced.notes] };
  };
  const { context = model.maxPositions } = options;
  if (context > model.maxPositions)
    throw new SchemeError(`a context of ${context} is longer than the model's ${model.maxPositions} positions`);
  const whole = write(context);
  // Position 0 is not rotated, so the second position distinguishes frequencies.
  const short = write(Math.min(2, context));
  if (sameStart(whole.tables, short.tables)) return whole;
  let [fits, tooLong] = [2, context];
  while (options.context === undefined && tooLong - fits > 1) {
    const middle = (fits + tooLong) >> 1;
    if (sameStart(write(middle).tables, short.tables)) fits = middle;
    else tooLong = middle;
  }
  const chosen = options.context === undefined ? write(fits) : whole;
  const words = `the frequencies of positions depend on the length of a sequence: the file has those of sequences of ${options.context ?? fits} tokens, and does not support longer ones`;
  return { ...chosen, notes: [...chosen.notes, words] };
}

/** Whether tables of positions have the same angles, up to the length of the shorter ones. */
function sameStart(tables: readonly RotaryTable[], others: readonly RotaryTable[]): boolean {
  return tables.every(({ cos, sin }, index) => {
    const other = others[index]!;
    const count = Math.min(cos.length, other.cos.length);
    for (let i = 0; i < count; i++) if (cos[i] !== other.cos[i] || sin[i] !== other.sin[i]) return false;
    return true;
  });
}

interface Traced extends ExportedModel {
  /** Tables of rotary positions, in the order of their first use. */
  readonly tables: readonly RotaryTable[];
}

function trace(
  checkpoint: Checkpoint,
  model: ModelDescription,
  matrices: (name: string) => MatrixSource,
  length: number,
  options: ExportOptions,
): Traced {
  const { type, portable = false, tensorBytes = 2 ** 27 } = options;
  const shapes = inMemoryShapes(model);
  const read = async (name: string) => (await checkpoint.weight(name)).data;
  const floats = (name: string, own: FloatType): GraphValue =>
    graph.storeFloats(own === 'f32' ? name : `${name}_${own}`, own, shapes.get(name)!, () => read(name));
  const graph = new Graph(model.architecture, floats);
  const notes = new Set<string>();
  const sequence = createSequence(graph, model.head !== undefined);
  const target = { graph, type, portable, tensorBytes };
  const use = matrixUser(model, target, matrices, { ...options, note: (words) => notes.add(words) });
  const ops = createGraphOps(
    {
      ...{ graph, sequence, type, portable },
      attention: model.head ? decoderAttention(portable, (note) => notes.add(note)) : encoderAttention(portable),
      weights: { rows: (name, ids) => use(name).lookUp(ids) },
    },
    length,
  );
  const tables: RotaryTable[] = [];
  const watched = {
    ...ops,
    rotary(x: GraphValue, heads: number, table: RotaryTable) {
      if (!tables.includes(table)) tables.push(table);
      return ops.rotary(x, heads, table);
    },
  };
  const runtime = createGraphRuntime(watched, {
    ...{ shapes, read },
    matrix: (module) => {
      const weight = `${module}.weight`;
      const matrix = use(model.ties.get(weight) ?? weight);
      return { ...matrix, product: (x, bias) => matrix.product(graph.cast(x, type), bias) };
    },
    bias: (module) => (shapes.has(`${module}.bias`) ? floats(`${module}.bias`, type) : undefined),
  });
  if (model.head) writeLogits(graph, model, runtime, length);
  else writeEncoder({ graph, sequence }, model, runtime, length, options.sentence);
  return {
    model: graph.model(options.producer, new Map()),
    payloads: graph.payloads,
    bytes: graph.payloads.flatMap(({ tensors }) => tensors).reduce((sum, tensor) => sum + byteLength(tensor), 0),
    notes: [...notes],
    tables,
  };
}

function writeLogits(graph: Graph, model: ModelDescription, runtime: Runtime<GraphValue>, length: number): void {
  const logits = forward(languageModel(model, 'a graph with logits'), runtime, tracedIds, tracedBatch, length);
  graph.output(named(graph, graph.cast(logits, 'f32'), 'logits'));
}

/** A classifier's logits, or the hidden states and the outputs computed from them. */
function writeEncoder(
  { graph, sequence }: { readonly graph: Graph; readonly sequence: Sequence },
  model: ModelDescription,
  runtime: Runtime<GraphValue>,
  length: number,
  sentence: SentenceModules | undefined,
): void {
  const states = encode(model, runtime, tracedIds, tracedBatch, length);
  const output = (value: GraphValue, name: string) => graph.output(named(graph, graph.cast(value, 'f32'), name));
  const classifier = model.classifier ?? model.tokenClassifier;
  if (classifier) {
    output(classifier.run(runtime, states), 'logits');
    return;
  }
  output(states, 'last_hidden_state');
  if (model.pooler && !sentence) output(model.pooler.run(runtime, states), 'pooler_output');
  if (sentence) output(writeSentenceVector(graph, sequence, states, sentence), 'sentence_embedding');
}

/** onnxruntime's attention with a cache, or plain operators if it does not support the model. */
const decoderAttention =
  (portable: boolean, note: (words: string) => void): AttentionWriter =>
  (graph, sequence, args) => {
    const refusal = portable ? undefined : refuseGroupQueryAttention(args);
    if (refusal) note(`attention is written in plain operators: GroupQueryAttention does not take ${refusal}`);
    return (portable || refusal ? plainAttention : groupQueryAttention)(graph, sequence, args);
  };

/** Gives each matrix the form for its use, once. A matrix that cannot have it is stored in floats, which is noted. */
function matrixUser(
  model: ModelDescription,
  target: MatrixTarget,
  matrices: (name: string) => MatrixSource,
  { linears, embeddings, head, note }: MatrixForms & { readonly note: (words: string) => void },
): (name: string) => GraphMatrix {
  const headName = model.head && `${model.head.module}.weight`;
  const headTensor = headName && (model.ties.get(headName) ?? headName);
  const [tokens] = model.embeddingTensors;
  const inBlocks = new Set(model.blocks.flatMap((block) => block.linears.map(({ module }) => `${module}.weight`)));
  const added = new Map<string, GraphMatrix>();
  return (name) => {
    const found = added.get(name);
    if (found) return found;
    const rows = model.embeddingTensors.includes(name);
    // Tables of positions and segments, poolers and classifiers are small.
    const form = name === tokens ? embeddings : name === headTensor ? head : inBlocks.has(name) ? linears : floatMatrix;
    const source = matrices(name);
    const own = { rows, product: name === headTensor || !rows };
    const refusal = form.refusal?.(source, own);
    if (refusal !== undefined) note(`${name} is stored as ${target.type} instead of ${form.name}: ${refusal}`);
    const made = (refusal === undefined ? form : floatMatrix).add(target, source, own);
    added.set(name, made);
    return made;
  };
}

/** Renames the value. */
const named = (graph: Graph, value: GraphValue, name: string): GraphValue =>
  graph.node('Identity', [value], value, { outputs: [name] });

/** Shapes as forward passes see them: linears `[out, in]` for any order in the file. */
function inMemoryShapes(model: ModelDescription): Map<string, readonly number[]> {
  return new Map([
    ...model.expected,
    ...linearsOf(model).map(
      ({ module, outFeatures, inFeatures }) => [`${module}.weight`, [outFeatures, inFeatures]] as const,
    ),
  ]);
}

/**
 * Matrices by name, with the data about their codes. This data is read beforehand, since a graph is written
 * synchronously.
 */
async function collectMatrices(
  checkpoint: Checkpoint,
  model: ModelDescription,
): Promise<(name: string) => MatrixSource> {
  const shapes = inMemoryShapes(model);
  const packed = new Map<string, PackedSource>();
  for (const module of checkpoint.quantizedModules) {
    const { codes, scales, zeroPoints, storedScales, ...described } = (await checkpoint.quantized(module))!;
    const activation = await checkpoint.activation(module);
    packed.set(`${module}.weight`, {
      described,
      ...(activation ? { activation } : {}),
      read: () => checkpoint.quantized(module) as Promise<QuantizedTensor>,
    });
  }
  return (name) => {
    const [rows, columns] = shapes.get(name) as readonly [number, number];
    const own = packed.get(name);
    return { ...{ name, rows, columns }, floats: () => checkpoint.weight(name), ...(own ? { packed: own } : {}) };
  };
}
