import { boolean, choice, text } from '@q/core';
import { command } from '../command.js';
import { conversionTargets } from '../conversion/targets.js';
import { ggufFormats, ggufMixes } from '../registry.js';
import { computeOptions, jsonOption, textFile } from '../shared-options.js';

const types = Object.keys({ ...ggufFormats, ...ggufMixes }).join(', ');

export const convert = command({
  name: 'convert',
  summary: 'make a file that another runtime loads',
  arguments: [
    ['<model>', 'model folder'],
    ['<out>', 'file or folder to write'],
  ],
  options: {
    to: choice(conversionTargets, { help: 'What it becomes' }),
    type: text({ placeholder: 'name', otherwise: 'f16', help: `Gguf: what matrices become: ${types}.` }),
    output: text({
      placeholder: 'name',
      otherwise: 'q6_k, or more',
      help: 'Gguf: what the output layer becomes: one type, or like-llama.',
    }),
    embeddings: text({ placeholder: 'name', otherwise: 'as --type', help: 'Gguf: what the embeddings become.' }),
    imatrix: textFile('Gguf: importance matrix of q imatrix or llama-imatrix: weights of the columns.'),
    preTokenizer: text({
      placeholder: 'name',
      help: "Gguf: llama.cpp's name for how the tokenizer cuts text, where it is not recognized.",
    }),
    requantize: boolean({ help: 'Round weights that are quantized already, which costs accuracy.' }),
    threads: computeOptions.threads,
    ...jsonOption,
  },
  async run([model, out], options, context) {
    const { convertCommand } = await import('../commands/convert.js');
    await convertCommand(model, out, options, context);
  },
});
