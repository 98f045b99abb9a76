import { boolean, choice, integer, text } from '@q/core';
import { command } from '../command.js';
import { conversionTargets } from '../conversion/targets.js';
import { addRecipeFlags } from '../recipe-flags.js';
import { ggufTypes } from '../registry.js';
import { calibrationOptions, computeOptions, jsonOption, storeOption, textFile } from '../shared-options.js';

const types = [...ggufTypes.keys()].join(', ');

export const convert = command({
  options: {
    to: choice(conversionTargets, { help: 'What it becomes' }),
    type: text({
      placeholder: 'name',
      otherwise: 'f16 for gguf, q4 for onnx',
      help: `Type of matrices. Gguf: ${types}. Onnx: fp32, fp16, q8, q4, q4f16, q2, q2f16, uint8, int8.`,
    }),
    within: text({
      placeholder: 'name or size',
      help: 'Gguf: choose types for this model within a size (75MB), or within that of a mix (q2_k, q4_k_m, ...). Needs --calib.',
    }),
    output: text({
      placeholder: 'name',
      otherwise: 'like-llama: q6_k; q8_0 if 256 does not divide rows; --type if that is q8_0 or floats',
      help: 'Gguf: type of the head, or like-llama.',
    }),
    embeddings: text({ placeholder: 'name', otherwise: 'as --type', help: 'Gguf: type of the embeddings.' }),
    imatrix: textFile('Gguf: importance matrix of q imatrix or llama-imatrix: weights of the columns.'),
    preTokenizer: text({
      placeholder: 'name',
      help: "Gguf: llama.cpp's name for the way in which the tokenizer splits text, if it is not recognized.",
    }),
    requantize: boolean({ help: 'Round weights that are quantized already, which costs accuracy.' }),
    portable: boolean({ help: 'Onnx: use only operators of ONNX, none of onnxruntime.' }),
    context: integer({ min: 1, otherwise: 'those of the model', help: 'Onnx: largest number of positions.' }),
    maxTensor: integer({
      min: 1,
      otherwise: '134217728, the largest binding of a WebGPU device',
      help: 'Onnx: split matrices of more bytes than this.',
    }),
    calib: textFile(
      'Calibration text, JSON Lines, or .u16 or .u32 token ids: for --method, or for weights of the columns of a GGUF file.',
    ),
    ...calibrationOptions,
    queue: text({
      placeholder: 'url',
      help: 'Let the workers of this queue encode the tensors, or with --method quantize the linears. See q worker.',
    }),
    store: storeOption('OUT.store, removed at the end'),
    ...computeOptions,
    ...jsonOption,
  },
  flags: addRecipeFlags,
  async run([model, out], options, context) {
    const { convertCommand } = await import('../commands/convert.js');
    await convertCommand(model, out, options, context);
  },
});
