import { choice, integer } from '@q/core';
import { namedParts } from '@q/pipeline';
import { command } from '../command.js';
import { addOptionsOf } from '../method-flags.js';
import { adapterTuners } from '../registry.js';
import { calibrationOptions, computeOptions, heldOutOptions, jsonOption, textFile } from '../shared-options.js';

export const finetune = command({
  options: {
    method: choice(
      adapterTuners.map(({ name }) => name),
      { default: adapterTuners[0].name, help: 'The tuner.' },
    ),
    text: textFile('Text to learn, JSON Lines, or .u16 or .u32 token ids.'),
    seed: integer({ default: 0, help: 'Seed of everything random.' }),
    ...calibrationOptions,
    ...heldOutOptions,
    engine: computeOptions.engine,
    threads: computeOptions.threads,
    ...jsonOption,
  },
  flags: (to, vocabulary) => addOptionsOf(to, adapterTuners, namedParts(vocabulary)),
  async run([model, out], options, context) {
    const { fineTuneCommand } = await import('../commands/finetune.js');
    await fineTuneCommand(model, out, options, context);
  },
});
