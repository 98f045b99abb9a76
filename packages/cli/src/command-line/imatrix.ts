import { command } from '../command.js';
import { calibrationOptions, computeOptions, jsonOption, textFile } from '../shared-options.js';

export const imatrix = command({
  options: {
    calib: textFile('Text, JSON Lines or .u16 or .u32 token ids to collect it on.'),
    ...calibrationOptions,
    engine: computeOptions.engine,
    threads: computeOptions.threads,
    ...jsonOption,
  },
  async run([model, out], options, context) {
    const { imatrixCommand } = await import('../commands/imatrix.js');
    await imatrixCommand(model, out, options, context);
  },
});
