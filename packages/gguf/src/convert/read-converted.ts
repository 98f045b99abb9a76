import { FormatError, type Tensor, tensor } from '@q/core';
import type { ByteSource } from '@q/safetensors';
import type { GgufHeader } from '../header.js';
import { readGgufTensor } from '../read-tensor.js';
import type { ConvertedModel } from './conversion.js';
import { matrixOf } from './model-rows.js';
import { inverseOrder } from './row-orders.js';

/**
 * Reads the tensors of a file under the names that they have in the checkpoint it was made of, with the values that a reader of the
 * file finds: rows in the checkpoint's order, experts apart, nothing added.
 * @param model what the checkpoint converts to
 * @returns a function of the tensor's name in the checkpoint
 */
export function convertedWeights(
  source: ByteSource,
  { tensors }: GgufHeader,
  model: ConvertedModel,
): (name: string) => Promise<Tensor<'f32'>> {
  const homes = new Map(
    model.tensors.flatMap((each) => each.from.map((name, part) => [name, { each, part }] as const)),
  );
  return async (name) => {
    const home = homes.get(name);
    const stored = home && tensors.get(home.each.name);
    if (!home || !stored) throw new FormatError(`${source.name}: holds nothing of tensor ${name}`);
    const { from, order, plus = 0, shape } = home.each;
    const values = await readGgufTensor(source, stored);
    const { rows, columns } = matrixOf(shape);
    const each = rows / from.length;
    const begin = home.part * each;
    const back = order && inverseOrder(order);
    if (order && order.length !== rows) throw new FormatError(`${source.name}: holds a part of tensor ${name} alone`);
    const out = new Float32Array(each * columns);
    for (let row = 0; row < each; row++) {
      const at = (back ? back[begin + row] : begin + row) * columns;
      for (let j = 0; j < columns; j++) out[row * columns + j] = values[at + j] - plus;
    }
    return tensor('f32', from.length > 1 ? shape.slice(1) : shape, out);
  };
}
