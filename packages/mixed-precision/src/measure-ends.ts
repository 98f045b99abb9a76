import { BlockWalk, embedWindows, walkBlocks } from '@q/blockwise';
import { dequantize, languageModel, quantize } from '@q/core';
import { divergenceFrom } from '@q/eval';
import type { SensitivityOptions } from './measure-sensitivity.js';
import { roundingFit, type SensitivityUnit } from './sensitivity-unit.js';

/**
 * Mean KL divergence (nats per token) to the original with a table of tokens or a head alone rounded, for each
 * candidate. A rounded table goes through the whole model; a rounded head reads the original's hidden states.
 * @param original at the end of the blocks
 */
export async function measureEnds<T>(
  { model, engine, context, windows, batch = 4, weight }: SensitivityOptions<T>,
  { modules: [module], candidates }: SensitivityUnit,
  original: BlockWalk<T>,
): Promise<number[]> {
  const { logits } = languageModel(model, 'a budget');
  const { signal, kernels } = context;
  const name = `${module}.weight`;
  const values = await weight(name);
  const found: number[] = [];
  for (const scheme of candidates) {
    const rounded = dequantize(quantize(values, scheme, { fit: roundingFit, kernels }));
    const read = async (asked: string) => (asked === name ? rounded : weight(asked));
    const own = new BlockWalk({ model, engine, windows, batch, signal });
    try {
      if (model.embeddingTensors.includes(name)) {
        await embedWindows([own], read);
        await walkBlocks([own], { read });
      } else own.resume([...original.hidden()]);
      await original.load(model.headTensors, weight);
      await own.load(model.headTensors, read);
      let sum = 0;
      for (const index of original.windowBatches.keys()) {
        const divergence = divergenceFrom(await original.output(index, logits), windows.length, model.vocabularySize);
        sum += divergence(await own.output(index, logits));
      }
      found.push(sum / (windows.count * (windows.length - 1)));
    } finally {
      original.clearWeights();
      own.clearWeights();
      own.dispose();
    }
  }
  return found;
}
