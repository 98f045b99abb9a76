import { choice } from '@q/core';
import { command } from '../command.js';
import { computeOptions, jsonOption } from '../shared-options.js';

export const onnx = command({
  options: {
    type: choice(['q8', 'q4', 'q2', 'uint8', 'int8'], { default: 'q4', help: 'What matrices become' }),
    threads: computeOptions.threads,
    ...jsonOption,
  },
  async run([input, output], options, context) {
    const { onnxCommand } = await import('../commands/onnx.js');
    await onnxCommand(input, output, options, context);
  },
});
