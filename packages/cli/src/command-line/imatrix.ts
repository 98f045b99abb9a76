import { command } from '../command.js';
import { calibrationOptions, computeOptions, jsonOption, textFile } from '../shared-options.js';

export const imatrix = command({
  name: 'imatrix',
  summary: "collect an importance matrix, for q convert, q gguf and llama.cpp's quantizer",
  arguments: [
    ['<model>', 'model folder or .gguf file'],
    ['<out>', 'file to write: .gguf, or .dat for older programs'],
  ],
  options: {
    calib: textFile('Text, JSON Lines or .u16 token ids to collect it on.'),
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
