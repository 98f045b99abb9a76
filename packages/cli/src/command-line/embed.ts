import { command } from '../command.js';
import { calibrationOptions, computeOptions, jsonOption, textFile } from '../shared-options.js';

export const embed = command({
  options: {
    text: textFile('Text, one line an embedding, or JSON Lines.'),
    length: calibrationOptions.length,
    ...computeOptions,
    ...jsonOption,
  },
  async run([model], options, context) {
    const { embedCommand } = await import('../commands/embed.js');
    await embedCommand(model, options, context);
  },
});
