import type { ActivationScheme, QuantizedTensor, Tensor } from '@q/core';
import type { Graph } from '../graph/graph.js';
import type { GraphValue } from '../graph/graph-value.js';
import type { FloatType } from '../graph/sequence.js';

/** A matrix of a model `[rows, columns]`: a linear's weight (`[out, in]`) or an embedding table. */
export interface MatrixSource {
  /** `model.layers.0.mlp.up_proj.weight` */
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  /** f32 `[rows, columns]`. */
  floats(): Promise<Tensor<'f32'>>;
  /** Existing codes of the checkpoint, and how to read them; absent if it has floats. */
  readonly packed?: PackedSource;
}

export interface PackedSource {
  /** The tensor without codes: known before the matrix is written. */
  readonly described: Omit<QuantizedTensor, 'codes' | 'scales' | 'zeroPoints' | 'storedScales'>;
  /** The quantization of the linear's inputs at run time; undefined when only its weight is quantized. */
  readonly activation?: ActivationScheme;
  read(): Promise<QuantizedTensor>;
}

/** The uses of a matrix. */
export interface MatrixUse {
  /** Multiplied with values. */
  readonly product: boolean;
  /** Its rows are looked up. */
  readonly rows: boolean;
}

/** A matrix in a graph. */
export interface GraphMatrix {
  /** `x` `[..., columns]` times the transposed matrix, plus `bias` `[rows]` -> `[..., rows]` of the type of `x`. */
  product(x: GraphValue, bias?: GraphValue): GraphValue;
  /** Rows at `ids` -> `[..., columns]`, f32. */
  lookUp(ids: GraphValue): GraphValue;
}

/** The graph that stores matrices. */
export interface MatrixTarget {
  readonly graph: Graph;
  readonly type: FloatType;
  readonly portable: boolean;
  /** No tensor is larger than this many bytes, if it can be split. */
  readonly tensorBytes: number;
}

/** How a graph stores matrices, and the operators that multiply with them. */
export interface MatrixForm {
  /** `f32`, `4 bits in blocks of 32`: for reports. */
  readonly name: string;
  /**
   * Why a matrix without codes cannot have this form for its use, in words, so that it is stored in floats. Undefined if
   * it can; absent if every matrix can.
   */
  refusal?(source: MatrixSource, use: MatrixUse): string | undefined;
  add(target: MatrixTarget, source: MatrixSource, use: MatrixUse): GraphMatrix;
}
