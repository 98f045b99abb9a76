import { choice, integer } from '@q/core';
import { namedParts } from '@q/pipeline';
import { command } from '../command.js';
import { addOptionsOf } from '../method-flags.js';
import { fineTuners } from '../registry.js';
import { calibrationOptions, computeOptions, heldOutOptions, jsonOption, textFile } from '../shared-options.js';

export const finetune = command({
  options: {
    method: choice(
      fineTuners.map(({ name }) => name),
      { default: fineTuners[0].name, help: 'The fine-tuning.' },
    ),
    text: textFile('Text to learn, JSON Lines, or .u16 or .u32 token ids.'),
    seed: integer({ default: 0, help: 'Seed of everything random.' }),
    ...calibrationOptions,
    ...heldOutOptions,
    engine: computeOptions.engine,
    threads: computeOptions.threads,
    ...jsonOption,
  },
  flags: (to, vocabulary) => addOptionsOf(to, fineTuners, namedParts(vocabulary)),
  async run([model, out], options, context) {
    const { fineTuneCommand } = await import('../commands/finetune.js');
    await fineTuneCommand(model, out, options, context);
  },
});
