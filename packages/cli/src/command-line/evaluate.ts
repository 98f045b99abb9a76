import { integer, text } from '@q/core';
import { command } from '../command.js';
import { calibrationOptions, computeOptions, jsonOption, textFile } from '../shared-options.js';

export const evaluate = command({
  options: {
    adapter: text({
      placeholder: 'folder',
      help: 'Score the model with this adapter of PEFT, or this task of q finetune --method peqa.',
    }),
    cache: text({
      placeholder: 'scheme',
      otherwise: 'f32',
      help: 'Read earlier tokens from a quantized cache: int8, int4, kivi2,rotate,window=64, or static (scales of the folder).',
    }),
    against: text({ placeholder: 'model', help: 'The original, for KL divergence.' }),
    text: textFile('Text to score, JSON Lines, or .u16 or .u32 token ids.'),
    length: calibrationOptions.length,
    windows: integer({ min: 1, otherwise: 'all', help: 'Windows to score.' }),
    ...computeOptions,
    ...jsonOption,
  },
  async run([model], options, context) {
    const { evalCommand } = await import('../commands/evaluate.js');
    await evalCommand(model, options, context);
  },
});
