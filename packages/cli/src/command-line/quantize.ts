import { number } from '@q/core';
import { command } from '../command.js';
import { addRecipeFlags } from '../recipe-flags.js';
import { calibrationOptions, computeOptions, heldOutOptions, jsonOption, textFile } from '../shared-options.js';

export const quantize = command({
  name: 'quantize',
  summary: 'write a smaller model',
  arguments: [
    ['<model>', 'model folder'],
    ['<out>', 'folder to write'],
  ],
  options: {
    calib: textFile('Calibration text, JSON Lines, .u16 token ids, or self: the model writes it.'),
    sensitivity: textFile('With --budget, keep what was measured here, and use it again.'),
    ...calibrationOptions,
    ...heldOutOptions,
    maxKl: number({
      above: 0,
      help: 'Exit with 1 when the KL divergence to the original is above this, in nats per token.',
    }),
    ...computeOptions,
    ...jsonOption,
  },
  flags: addRecipeFlags,
  async run([model, out], options, context) {
    const { quantizeCommand } = await import('../commands/quantize.js');
    await quantizeCommand(model, out, options, context);
  },
});
