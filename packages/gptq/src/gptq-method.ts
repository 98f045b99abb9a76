import { choice, type Method, SchemeError } from '@q/core';
import { gptq, gptqOptions } from './gptq.js';
import { endLossOptions, gptqEndLoss } from './gptq-end-loss.js';

const methodOptions = {
  ...gptqOptions,
  /**
   * The error to minimise: the squared error of the linear's outputs, or an estimate of its effect on the loss at the
   * end of the model.
   */
  objective: choice(['layer', 'end-loss'], {
    default: 'layer',
    help: 'Error that is minimised: that of the linear, or an estimate of the loss at the end of the model, from gradients.',
  }),
  ...endLossOptions,
};

/** The method for the command and recipes. */
export const gptqMethod: Method<typeof methodOptions> = {
  name: 'gptq',
  summary: 'one column after the other; later columns compensate for the error of each',
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
  // No linear comes after the head to compensate for its error, and its inputs are those of the unquantized model, so
  // nothing is corrected.
  head: ({ objective: _objective, tokens: _tokens, outputs: _outputs, asymmetric: _asymmetric, ...options }) =>
    gptq({ ...options, retarget: 0, residual: false }),
};
