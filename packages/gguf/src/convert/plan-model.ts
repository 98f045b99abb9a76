import { f16Block, f32Block } from '../blocks/float-blocks.js';
import { defaultAlignment, type GgufHeader, type GgufTensor } from '../header.js';
import { planRequantize, type RequantizeOptions, type RequantizePlan, staysAs } from '../requantize-plan.js';
import { ggufTensorTypeFor } from '../tensor-type.js';
import type { ConvertedModel } from './conversion.js';

/**
 * Decides the type of every tensor of a converted model by the same rules as for a file. Vectors, norms and other small
 * tensors are stored in f32.
 * @param name of the model, for messages
 */
export function planModel(model: ConvertedModel, options: RequantizeOptions, name: string): RequantizePlan {
  const tensors = new Map<string, GgufTensor>();
  let begin = 0;
  for (const { name: own, shape } of model.tensors) {
    const plain = staysAs({ name: own, shape }) === undefined && !options.kept?.has(own);
    const type = ggufTensorTypeFor(plain ? f16Block : f32Block);
    const end = begin + shape.reduce((product, size) => product * size, 1) * type.bytes;
    tensors.set(own, { name: own, type, shape, begin, end });
    begin = end;
  }
  const header: GgufHeader = {
    version: 3,
    metadata: model.metadata,
    tensors,
    alignment: defaultAlignment,
    dataStart: 0,
  };
  return planRequantize(header, options, name);
}
