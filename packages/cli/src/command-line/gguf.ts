import { boolean, text } from '@q/core';
import { command } from '../command.js';
import { ggufTypes } from '../registry.js';
import { computeOptions, jsonOption, textFile } from '../shared-options.js';

const types = [...ggufTypes.keys()].join(', ');

export const gguf = command({
  options: {
    type: text({ placeholder: 'name', help: `What matrices become: ${types}.` }),
    output: text({
      placeholder: 'name',
      otherwise: 'q6_k, or more',
      help: 'What the output layer becomes: one type, keep, or like-llama.',
    }),
    embeddings: text({
      placeholder: 'name',
      otherwise: 'as --type',
      help: 'What the embeddings become: one type, or keep.',
    }),
    imatrix: textFile('Importance matrix of q imatrix or llama-imatrix: weights of the columns.'),
    requantize: boolean({ help: 'Round tensors that are quantized already, which costs accuracy.' }),
    plan: boolean({ help: 'Say what would happen to every tensor, and write nothing.' }),
    threads: computeOptions.threads,
    ...jsonOption,
  },
  async run([input, output], options, context) {
    const { ggufCommand } = await import('../commands/gguf.js');
    await ggufCommand(input, output, options, context);
  },
});
