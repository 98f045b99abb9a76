import { boolean, text } from '@q/core';
import { command } from '../command.js';
import { ggufTypes } from '../registry.js';
import { computeOptions, jsonOption, textFile } from '../shared-options.js';

const types = [...ggufTypes.keys()].join(', ');

export const gguf = command({
  options: {
    type: text({ placeholder: 'name', help: `Type of matrices: ${types}.` }),
    output: text({
      placeholder: 'name',
      otherwise: 'like-llama: q6_k; q8_0 if 256 does not divide rows; --type if that is q8_0 or floats',
      help: 'Type of the head, keep, or like-llama.',
    }),
    embeddings: text({
      placeholder: 'name',
      otherwise: 'as --type',
      help: 'Type of the embeddings, or keep.',
    }),
    imatrix: textFile('Importance matrix of q imatrix or llama-imatrix: weights of the columns.'),
    requantize: boolean({ help: 'Round tensors that are quantized already, which costs accuracy.' }),
    plan: boolean({ help: 'Print the plan for every tensor, and write nothing.' }),
    threads: computeOptions.threads,
    ...jsonOption,
  },
  async run([input, output], options, context) {
    const { ggufCommand } = await import('../commands/gguf.js');
    await ggufCommand(input, output, options, context);
  },
});
