import { type ActivationScheme, type NumberFormat, type QuantizedTensor, type Scheme, SchemeError } from '@q/core';
import { floatBytes, type Graph, int } from '../graph/graph.js';
import type { GraphValue } from '../graph/graph-value.js';
import type { WeightQuantizer } from './block-matrix.js';
import type { MatrixForm, MatrixSource, MatrixTarget, MatrixUse } from './matrix.js';
import { cutRows, joinProducts, lookUpPieces, type Piece } from './pieces.js';

export interface IntegerMatrixOptions {
  /** For matrices without codes: one scale a row, or one for all rows. */
  readonly scheme: Scheme;
  readonly quantizer: WeightQuantizer;
  /**
   * The stored type of codes. Processors without VNNI add two products of an unsigned and a signed byte in 16 bits,
   * which saturates if signed codes have more than 7 bits; products of unsigned bytes do not.
   */
  readonly stored: 'u8' | 'i8';
}

/**
 * One scale a row and 8-bit integers, in ONNX's own operators. A product rounds its inputs to 8 bits, multiplies
 * integers, and scales the sums (DynamicQuantizeLinear, MatMulInteger). Calibrated inputs are rounded with their own
 * scale (QuantizeLinear and DequantizeLinear around MatMul, which onnxruntime fuses).
 */
export const integerMatrix = (options: IntegerMatrixOptions): MatrixForm => ({
  name: `${options.scheme.format.bits} bits as ${options.stored}, a scale a row`,
  add: (target, source, use) => addIntegers(options, target, source, use),
});

/** Stored codes: `value = scale (code - zero)`. */
interface StoredCodes {
  readonly type: 'u8' | 'i8';
  /** Added to the integer value of a code. */
  readonly offset: number;
  readonly zeroPoint: 'none' | 'integer';
}

function addIntegers(options: IntegerMatrixOptions, target: MatrixTarget, source: MatrixSource, use: MatrixUse) {
  const { graph, type } = target;
  const { rows, columns, name } = source;
  const { scheme, groupIndex } = source.packed?.described ?? { scheme: options.scheme };
  const stored = storedCodes(name, scheme, groupIndex !== undefined, options.stored);
  const inputs = source.packed?.activation;
  let made: Promise<QuantizedTensor> | undefined;
  const quantized = (): Promise<QuantizedTensor> => {
    made ??= source.packed
      ? source.packed.read()
      : source.floats().then((weight) => options.quantizer(weight, options.scheme, name));
    return made;
  };
  const pieces = cutRows(rows, columns, target.tensorBytes);
  /** Codes `[out, in]` if rows are looked up, else `[in, out]`; scales and zero points of the rows. */
  const store = ({ start, end, suffix }: Piece) =>
    graph.store({
      tensors: [
        {
          name: `${name}_quantized${suffix}`,
          type: stored.type,
          dims: use.rows ? [end - start, columns] : [columns, end - start],
        },
        { name: `${name}_scale${suffix}`, type: 'f32', dims: [end - start] },
        { name: `${name}_zero_point${suffix}`, type: stored.type, dims: [end - start] },
      ],
      async make() {
        const parts = rowsOf(await quantized(), stored, start, end, !use.rows);
        if (end === rows) made = undefined;
        return parts;
      },
    }) as [GraphValue, GraphValue, GraphValue];

  function product(input: GraphValue, bias?: GraphValue): GraphValue {
    const x = graph.cast(input, 'f32');
    const parts = pieces.map((piece) => {
      const [codes, scales, zeros] = store(piece);
      const sizes = [...x.sizes.slice(0, -1), piece.end - piece.start];
      const matrix = use.rows ? turned(graph, codes) : codes;
      return multiply({ graph, x, sizes, matrix, scales, zeros }, inputs, name);
    });
    const joined = joinProducts(target, parts, rows);
    const own = bias ? graph.node('Add', [joined, graph.cast(bias, 'f32')], joined) : joined;
    return graph.cast(own, type);
  }

  return {
    product,
    lookUp(ids: GraphValue): GraphValue {
      return lookUpPieces(target, pieces, ids, (piece, own) => {
        const [codes, scales, zeros] = store(piece);
        const each = { type: 'f32', sizes: [...ids.sizes, columns] } as const;
        const gathered = (values: GraphValue, sizes = ids.sizes) =>
          graph.node('Gather', [values, own], { type: values.type, sizes });
        const deep = (value: GraphValue) =>
          graph.node('Unsqueeze', [value, graph.integers([-1])], { type: value.type, sizes: [...value.sizes, 1] });
        const whole = graph.cast(gathered(codes, each.sizes), 'f32');
        const shifted = graph.node('Sub', [whole, deep(graph.cast(gathered(zeros), 'f32'))], each);
        return graph.node('Mul', [shifted, deep(gathered(scales))], each);
      });
    },
  };
}

/** The parts of an integer product: `x` f32 `[..., in]`, `matrix` `[in, out]`, scales and zero points `[out]`. */
interface IntegerProduct {
  readonly graph: Graph;
  readonly x: GraphValue;
  /** Of the product. */
  readonly sizes: GraphValue['sizes'];
  readonly matrix: GraphValue;
  readonly scales: GraphValue;
  readonly zeros: GraphValue;
}

function multiply(product: IntegerProduct, inputs: ActivationScheme | undefined, name: string): GraphValue {
  if (!inputs) return dynamicProduct(product);
  const { scheme, scale, outlierThreshold } = inputs;
  const { granularity, format } = scheme;
  if (outlierThreshold !== undefined && outlierThreshold > 0)
    throw new SchemeError(
      `${name}: columns with outliers are multiplied in floats (LLM.int8()), which a graph of whole numbers does not do: use --type q8`,
    );
  if (format.bits !== 8 || format.min > 0)
    throw new SchemeError(`${name}: inputs of ${format.name} cannot be written: 8 bits with a sign are needed`);
  if (scale !== undefined) return staticProduct(product, scale);
  if (granularity.kind === 'token') return tokenProduct(product);
  return dynamicProduct(product);
}

/** One scale and zero point for all inputs, from their smallest and largest value. */
function dynamicProduct({ graph, x, sizes, matrix, scales, zeros }: IntegerProduct): GraphValue {
  const [codes, scale, zero] = dynamicInputs(graph, x);
  const sums = graph.node('MatMulInteger', [codes, matrix, zero, zeros], { type: 'i32', sizes });
  const factors = graph.node('Mul', [scale, scales], scales);
  return graph.node('Mul', [graph.cast(sums, 'f32'), factors], { type: 'f32', sizes });
}

/** The inputs that several products share are rounded once. */
function dynamicInputs(graph: Graph, x: GraphValue): readonly [GraphValue, GraphValue, GraphValue] {
  return graph.once(
    `dynamic ${x.name}`,
    () =>
      graph.nodeOf(
        'DynamicQuantizeLinear',
        [x],
        [
          { type: 'u8', sizes: x.sizes },
          { type: 'f32', sizes: [] },
          { type: 'u8', sizes: [] },
        ],
      ) as [GraphValue, GraphValue, GraphValue],
  );
}

/** One scale a token, symmetric, stored without a sign: products of unsigned bytes never saturate. */
function tokenProduct({ graph, x, sizes, matrix, scales, zeros }: IntegerProduct): GraphValue {
  const one = { type: 'f32', sizes: [...x.sizes.slice(0, -1), 1] } as const;
  const f32 = (value: number) => graph.number(value, 'f32');
  const [codes, scale] = graph.once(`by token ${x.name}`, () => {
    const magnitudes = graph.node('Abs', [x], x);
    const largest = graph.node('ReduceMax', [magnitudes, graph.integers([-1])], one, {
      attributes: { keepdims: int(1) },
    });
    // A token of zeros also needs a scale.
    const some = graph.node('Max', [largest, f32(1e-30)], one);
    const scale = graph.node('Div', [some, f32(127)], one);
    const rounded = graph.node('Round', [graph.node('Div', [x, scale], x)], x);
    const shifted = graph.node('Add', [rounded, f32(128)], x);
    return [graph.cast(shifted, 'u8'), scale] as const;
  });
  const sums = graph.node('MatMulInteger', [codes, matrix, graph.number(128, 'u8'), zeros], { type: 'i32', sizes });
  const byRow = graph.node('Mul', [graph.cast(sums, 'f32'), scales], { type: 'f32', sizes });
  return graph.node('Mul', [byRow, scale], { type: 'f32', sizes });
}

/** A calibrated scale, symmetric. */
function staticProduct({ graph, x, sizes, matrix, scales, zeros }: IntegerProduct, scale: number): GraphValue {
  const own = [graph.number(scale, 'f32'), graph.number(128, 'u8')];
  const inputs = graph.once(`static ${x.name} ${scale}`, () => {
    const codes = graph.node('QuantizeLinear', [x, ...own], { type: 'u8', sizes: x.sizes });
    return graph.node('DequantizeLinear', [codes, ...own], x);
  });
  const weight = graph.node(
    'DequantizeLinear',
    [matrix, scales, zeros],
    { type: 'f32', sizes: matrix.sizes },
    { attributes: { axis: int(1) } },
  );
  return graph.node('MatMul', [inputs, weight], { type: 'f32', sizes });
}

/** `[out, in]` -> `[in, out]`: runtimes do it once, when they load the file. */
function turned(graph: Graph, codes: GraphValue): GraphValue {
  const [rows, columns] = codes.sizes as readonly [number, number];
  return graph.once(`turned ${codes.name}`, () =>
    graph.node(
      'Transpose',
      [codes],
      { type: codes.type, sizes: [columns, rows] },
      { attributes: { perm: int([1, 0]) } },
    ),
  );
}

/** @throws SchemeError for codes that an integer matrix with one scale a row cannot represent */
function storedCodes(name: string, scheme: Scheme, reordered: boolean, wanted: 'u8' | 'i8'): StoredCodes {
  const { format, granularity, zeroPoint } = scheme;
  const refuse = (what: string): never => {
    throw new SchemeError(
      `${name}: ${what} cannot be written as a matrix of whole numbers with a scale a row: use --type q8 or q4`,
    );
  };
  if (!wholeNumbers(format)) refuse(`codes of ${format.name}`);
  if (granularity.kind !== 'channel' && granularity.kind !== 'tensor') refuse(`scales per ${granularity.kind}`);
  if (zeroPoint === 'float') refuse('zero points that are no whole numbers');
  if (reordered) refuse('columns in another order');
  const [min, max] = [format.min, format.max];
  if (wanted === 'u8') {
    const offset = min < 0 ? 128 : 0;
    return { type: 'u8', offset, zeroPoint: zeroPoint === 'none' ? 'none' : 'integer' };
  }
  if (min < -64 || max > 63 || zeroPoint !== 'none')
    throw new SchemeError(
      `${name}: codes from ${min} to ${max}${zeroPoint === 'none' ? '' : ' with zero points'} saturate as signed bytes on processors without VNNI, which needs -64 to 63: use --type uint8`,
    );
  return { type: 'i8', offset: 0, zeroPoint: 'none' };
}

function wholeNumbers(format: NumberFormat): boolean {
  if (format.bits > 8 || format.max - format.min > 255) return false;
  for (let code = 0; code < 2 ** format.bits; code++) {
    const value = format.decode(code);
    if (Number.isFinite(value) && !Number.isInteger(value)) return false;
  }
  return true;
}

/** Codes, scales and zero points of the rows `start..end`; codes `[in, out]` if they are transposed. */
function rowsOf(
  { codes, scales, zeroPoints, scheme, shape }: QuantizedTensor,
  { type, offset, zeroPoint }: StoredCodes,
  start: number,
  end: number,
  turn: boolean,
): readonly Uint8Array[] {
  const [, columns] = shape as readonly [number, number];
  const count = end - start;
  const single = scheme.granularity.kind === 'tensor';
  const values = Int16Array.from({ length: 2 ** scheme.format.bits }, (_, code) => {
    const value = scheme.format.decode(code);
    return Number.isFinite(value) ? value + offset : offset;
  });
  const out = new Uint8Array(count * columns);
  for (let row = 0; row < count; row++)
    for (let column = 0; column < columns; column++)
      out[turn ? column * count + row : row * columns + column] = values[codes[(start + row) * columns + column]!]!;
  const ofRow = (row: number) => (single ? 0 : start + row);
  const ownScales = Float32Array.from({ length: count }, (_, row) => scales[ofRow(row)]!);
  const zeros = Uint8Array.from({ length: count }, (_, row) =>
    zeroPoint === 'none' ? offset : zeroPoints![ofRow(row)]! + offset,
  );
  return [out, floatBytes('f32', ownScales), type === 'i8' ? new Uint8Array(zeros) : zeros];
}
