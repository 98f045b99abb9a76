import { boolean, choice, integer, number, text } from '@q/core';
import { command } from '../command.js';
import { addRecipeFlags } from '../recipe-flags.js';
import { compressions } from '../registry.js';
import {
  budgetOptions,
  calibrationOptions,
  computeOptions,
  heldOutOptions,
  jsonOption,
  storeOption,
  textFile,
} from '../shared-options.js';

export const quantize = command({
  options: {
    calib: textFile(
      'Calibration text, JSON Lines, .u16 or .u32 token ids, self (the model writes it) or default (a text that comes with q).',
    ),
    sensitivity: textFile('With --budget, file for the measurements; later runs use it again.'),
    ...budgetOptions,
    ...calibrationOptions,
    ...heldOutOptions,
    maxKl: number({
      above: 0,
      help: 'Exit with 1 when the KL divergence to the original is above this, in nats per token.',
    }),
    workers: integer({ min: 2, otherwise: '1', help: 'Processes that share the batches of a training.' }),
    compress: choice(
      compressions.map(({ name }) => name),
      { default: 'none', help: 'Compression of the gradients that workers exchange' },
    ),
    listen: text({
      placeholder: 'host:port',
      help: 'Wait here for workers on other machines, instead of starting them; they know Q_WORKERS_TOKEN.',
    }),
    join: text({ placeholder: 'host:port', help: 'Join the training of the worker at this address; writes nothing.' }),
    queue: text({
      placeholder: 'url',
      help: 'Let the workers of this queue quantize the linears: redis://, rediss:// or postgres://. See q worker.',
    }),
    store: storeOption('OUT.store, removed at the end'),
    ...computeOptions,
    profile: boolean({ help: 'Print the time of each stage, compared with the speed of the machine.' }),
    ...jsonOption,
  },
  flags: addRecipeFlags,
  async run([model, out], options, context) {
    if (options.join !== undefined) {
      const { joinTrainingCommand } = await import('../commands/join-training.js');
      return joinTrainingCommand(model, options, context);
    }
    const { quantizeCommand } = await import('../commands/quantize.js');
    await quantizeCommand(model, out, options, context);
  },
});
