import { choice, type Method, SchemeError } from '@q/core';
import { gptq, gptqOptions } from './gptq.js';
import { endLossOptions, gptqEndLoss } from './gptq-end-loss.js';

const methodOptions = {
  ...gptqOptions,
  /** What is minimised: the squared error of the layer's outputs, or an estimate of what it does to the loss at the end of the model. */
  objective: choice(['layer', 'end-loss'], {
    default: 'layer',
    help: 'Error that is minimised: that of the layer, or what gradients say of the loss at the end of the model.',
  }),
  ...endLossOptions,
};

/** What the command and recipes know of it. */
export const gptqMethod: Method<typeof methodOptions> = {
  name: 'gptq',
  summary: 'one column after the other, with the error of each made up for by the later ones',
  options: methodOptions,
  quantizer({ objective, tokens, outputs, ...options }) {
    if (objective === 'end-loss')
      return gptqEndLoss({
        ...options,
        ...(tokens === undefined ? {} : { tokens }),
        ...(outputs === undefined ? {} : { outputs }),
      });
    if (tokens !== undefined || outputs !== undefined)
      throw new SchemeError(
        'gptq: tokens and outputs belong to the end loss: set objective to end-loss, or leave them out',
      );
    return gptq(options);
  },
  // Nothing follows the head that could make up for an error, and its inputs are those of the unquantized model: nothing to correct.
  head: ({ objective: _objective, tokens: _tokens, outputs: _outputs, asymmetric: _asymmetric, ...options }) =>
    gptq({ ...options, retarget: 0, residual: false }),
};
