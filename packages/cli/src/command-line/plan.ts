import { integer, text } from '@q/core';
import { command } from '../command.js';
import { addRecipeFlags } from '../recipe-flags.js';
import { budgetOptions, calibrationOptions, computeOptions, jsonOption, textFile } from '../shared-options.js';

export const plan = command({
  options: {
    calib: textFile('With --budget, text to measure on.'),
    sensitivity: textFile('With --budget, file for the measurements; later runs use it again.'),
    ...budgetOptions,
    ...calibrationOptions,
    cache: text({
      placeholder: 'scheme',
      otherwise: '16 bits',
      help: 'Scheme of the cache of keys and values: int8, kivi2, ...',
    }),
    context: integer({ min: 1, default: 4096, help: 'Tokens of a sequence whose cache is counted.' }),
    ...computeOptions,
    ...jsonOption,
  },
  flags: addRecipeFlags,
  async run([model], options, context) {
    const { planCommand } = await import('../commands/plan.js');
    await planCommand(model, options, context);
  },
});
