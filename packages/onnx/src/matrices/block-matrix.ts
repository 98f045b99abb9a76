import { type QuantizedTensor, type Scheme, SchemeError, type Tensor } from '@q/core';
import { contrib, type Graph, int } from '../graph/graph.js';
import type { GraphValue } from '../graph/graph-value.js';
import { refuseF16Scales, refuseF16Values } from '../graph/refuse-f16.js';
import type { MatrixForm, MatrixSource, MatrixTarget, MatrixUse } from './matrix.js';
import { type BlockShape, blockShape, packBlocks } from './pack-blocks.js';
import { cutRows, joinProducts, lookUpPieces, type Piece } from './pieces.js';

/** Makes the codes of a weight that has none yet. */
export type WeightQuantizer = (weight: Tensor<'f32'>, scheme: Scheme, name: string) => Promise<QuantizedTensor>;

export interface BlockMatrixOptions {
  /** For matrices without codes; its groups are the blocks. */
  readonly scheme: Scheme;
  readonly quantizer: WeightQuantizer;
  /**
   * Precision of onnxruntime's products. 4 allows it to round the inputs to 8 bits, which is faster on processors. 0
   * leaves it to the runtime: the type of the inputs.
   */
  readonly accuracyLevel?: 0 | 4;
}

/** 2, 4 or 8 bits in blocks along the rows: MatMulNBits and GatherBlockQuantized of onnxruntime. */
export function blockMatrix(options: BlockMatrixOptions): MatrixForm {
  const { format, granularity } = options.scheme;
  return {
    name: `${format.bits} bits in blocks of ${granularity.kind === 'group' ? granularity.size : 'a row'}`,
    refusal({ name, rows, columns, packed }, use) {
      if (packed || !use.rows) return undefined;
      return lookUpRefusal(blockShape(name, options.scheme, rows, columns), columns);
    },
    add: (target, source, use) => addBlocks(options, target, source, use),
  };
}

/** Why GatherBlockQuantized cannot look up rows of such blocks; undefined if it can. */
function lookUpRefusal({ blockSize, zeroPoint, bits }: BlockShape, columns: number): string | undefined {
  if (columns % blockSize !== 0)
    return `rows of ${columns} values are not whole blocks of ${blockSize}, and onnxruntime looks up only those`;
  return zeroPoint !== 'none' && bits !== 8
    ? `blocks of ${bits} bits have zero points, and onnxruntime looks up only rows without them`
    : undefined;
}

function addBlocks(options: BlockMatrixOptions, target: MatrixTarget, source: MatrixSource, use: MatrixUse) {
  const { graph, type } = target;
  const { rows, columns, name } = source;
  const { scheme, groupIndex } = source.packed?.described ?? { scheme: options.scheme };
  const shape = blockShape(name, scheme, rows, columns, groupIndex);
  const { bits, blockSize, blocks } = shape;
  const blob = (blockSize * bits) / 8;
  const refusal = use.rows ? lookUpRefusal(shape, columns) : undefined;
  if (refusal !== undefined)
    throw new SchemeError(
      `${name}: ${refusal}: give the embeddings symmetric blocks that divide the rows, or leave them in floats`,
    );
  const quantized = async (): Promise<QuantizedTensor> => {
    if (source.packed) {
      const own = await source.packed.read();
      if (type === 'f16') refuseF16Values(`${name}: scales`, own.scales, true);
      return own;
    }
    const values = await source.floats();
    const made = await options.quantizer(values, options.scheme, name);
    if (type === 'f16') refuseF16Scales(name, values.data, made);
    return made;
  };
  const pieces = cutRows(rows, blocks * blob, target.tensorBytes);
  /** Codes `[rows, blocks, blob]`, scales, and zero points if the scheme has them. */
  const store = ({ start, end, suffix }: Piece) =>
    graph.store({
      tensors: [
        { name: `${name}_Q${bits}${suffix}`, type: 'u8', dims: [end - start, blocks, blob] },
        { name: `${name}_scales${suffix}`, type, dims: [end - start, blocks] },
        ...zeroPointTensor(shape, `${name}_zero_points${suffix}`, end - start, type),
      ],
      make: async () => packBlocks(await quantized(), shape, type, start, end),
    });
  return {
    product(input: GraphValue, bias?: GraphValue): GraphValue {
      const x = shape.order ? reorder(target, input, shape.order, name) : input;
      const parts = pieces.map((piece) => {
        const whole = pieces.length === 1;
        const sizes = [...x.sizes.slice(0, -1), piece.end - piece.start];
        const [codes, scales, zeroPoints] = store(piece);
        return graph.node(
          'MatMulNBits',
          [x, codes, scales, ...(zeroPoints ? [zeroPoints] : []), ...withBias(whole ? bias : undefined, zeroPoints)],
          { type, sizes },
          {
            domain: contrib,
            attributes: {
              ...{ K: int(columns), N: int(piece.end - piece.start), bits: int(bits), block_size: int(blockSize) },
              ...(options.accuracyLevel ? { accuracy_level: int(options.accuracyLevel) } : {}),
            },
          },
        );
      });
      const joined = joinProducts(target, parts, rows);
      return bias && pieces.length > 1 ? graph.node('Add', [joined, bias], joined) : joined;
    },
    lookUp(ids: GraphValue): GraphValue {
      const found = lookUpPieces(target, pieces, ids, (piece, own) => {
        const [codes, scales, zeroPoints] = store(piece);
        // MatMulNBits reads the form with three axes: one tensor serves both.
        const deep = (value: GraphValue) =>
          graph.node('Unsqueeze', [value, graph.integers([-1])], {
            type: value.type,
            sizes: [...value.sizes, 1],
          });
        const rowsOf = graph.node(
          'GatherBlockQuantized',
          [codes, own, deep(scales!), ...(zeroPoints ? [deep(zeroPoints)] : [])],
          { type, sizes: [...ids.sizes, blocks, blockSize] },
          {
            domain: contrib,
            attributes: {
              ...{ bits: int(bits), block_size: int(blockSize) },
              ...{ gather_axis: int(0), quantize_axis: int(2) },
            },
          },
        );
        return graph.node('Reshape', [rowsOf, rowShape(graph, own, columns)], { type, sizes: [...ids.sizes, columns] });
      });
      return graph.cast(found, 'f32');
    },
  };
}

/** Shape of the looked-up rows, whose last two axes become one. */
function rowShape(graph: Graph, ids: GraphValue, columns: number): GraphValue {
  if (!ids.sizes.includes('axes')) return graph.integers([...ids.sizes.map(() => 0), columns]);
  const outer = graph.node('Shape', [ids], { type: 'i64', sizes: ['rows'] });
  const shape = { type: 'i64', sizes: ['rows'] } as const;
  return graph.node('Concat', [outer, graph.integers([columns])], shape, { attributes: { axis: int(0) } });
}

/** The inputs after the scales: zero points, g_idx, which is never given, and bias. */
function withBias(bias: GraphValue | undefined, zeroPoints: GraphValue | undefined): (GraphValue | undefined)[] {
  return bias ? [...(zeroPoints ? [] : [undefined]), undefined, bias] : [];
}

function zeroPointTensor({ zeroPoint, blocks, bits }: BlockShape, name: string, rows: number, type: 'f32' | 'f16') {
  if (zeroPoint === 'none') return [];
  return zeroPoint === 'float'
    ? [{ name, type, dims: [rows, blocks] }]
    : [{ name, type: 'u8' as const, dims: [rows, Math.ceil((blocks * bits) / 8)] }];
}

/** Columns in the order of their groups: for codes of GPTQ's act-order, whose groups are not consecutive. */
function reorder({ graph }: MatrixTarget, x: GraphValue, order: Int32Array, name: string): GraphValue {
  const [columns] = graph.store({
    tensors: [{ name: `${name}_order`, type: 'i32', dims: [order.length] }],
    make: async () => [new Uint8Array(order.buffer, order.byteOffset, order.byteLength)],
  });
  return graph.node('Gather', [x, columns], x, { attributes: { axis: int(-1) } });
}
