import { FormatError } from '@q/core';
import type { TensorLookup } from './layout.js';

/**
 * Early files of symmetric weights carry zero points, which are all 0. Others would have to be taken from the codes.
 * @param why they cannot be read, for the message
 * @throws FormatError naming the tensor and the first zero point that is not 0
 */
export async function refuseZeroPoints(module: string, tensors: TensorLookup, why: string): Promise<void> {
  const name = `${module}.weight_zero_point`;
  if (!tensors.has(name)) return;
  const { dtype, data } = await tensors.read(name);
  const bad = Array.from(data as ArrayLike<number | bigint>, Number).findIndex((zero) => zero !== 0);
  if (bad >= 0)
    throw new FormatError(
      `${name}: element ${bad} of ${dtype} is ${data[bad]}: ${why}: get the config that came with these weights`,
    );
}
