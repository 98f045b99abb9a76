import { type ModelDescription, NumericError, type Ops, ShapeError, type Tensor, tensor, toF32 } from '@q/core';

/**
 * Reads and uploads every tensor of a model, and keeps it until disposed. Linears become `[out, in]` for any order in
 * the file. Tied names share the handle of the tensor that they equal.
 * @throws ShapeError when a tensor's shape differs from the architecture's
 * @throws NumericError when a tensor has NaN or an infinite value
 */
export async function loadWeights<T>(
  ops: Ops<T>,
  model: ModelDescription,
  read: (name: string) => Promise<Tensor>,
): Promise<Map<string, T>> {
  const transposed = turnedWeights(model);
  const weights = new Map<string, T>();
  try {
    for (const [name, shape] of model.expected) {
      const values = checked(name, shape, await read(name));
      weights.set(name, ops.keep(ops.fromTensor(transposed.has(name) ? transpose(values) : values)));
    }
  } catch (error) {
    for (const handle of weights.values()) ops.dispose(handle);
    throw error;
  }
  for (const [name, equal] of model.ties) weights.set(name, weights.get(equal)!);
  return weights;
}

/** Names of the weights that the files store `[in, out]`. */
export const turnedWeights = ({ blocks }: ModelDescription): ReadonlySet<string> =>
  new Set(
    blocks
      .flatMap(({ linears }) => linears)
      .filter((linear) => linear.transposed)
      .map((linear) => `${linear.module}.weight`),
  );

function checked(name: string, shape: readonly number[], stored: Tensor): Tensor<'f32'> {
  if (stored.shape.length !== shape.length || stored.shape.some((size, axis) => size !== shape[axis])) {
    throw new ShapeError(`tensor "${name}" has shape [${stored.shape}]; the config says [${shape}]`);
  }
  const values = tensor('f32', stored.shape, toF32(stored));
  const bad = values.data.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) throw new NumericError(`tensor "${name}" holds ${values.data[bad]} at element ${bad}`);
  return values;
}

/** A matrix with its axes exchanged. */
export function transpose({ shape, data }: Tensor<'f32'>): Tensor<'f32'> {
  const [rows, columns] = shape as [number, number];
  const out = new Float32Array(data.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) out[column * rows + row] = data[row * columns + column]!;
  }
  return tensor('f32', [columns, rows], out);
}
