import { castDtypes } from '@q/checkpoint';
import { choice } from '@q/core';
import { command } from '../command.js';
import { jsonOption } from '../shared-options.js';

export const cast = command({
  options: {
    dtype: choice(Object.keys(castDtypes), { help: 'Dtype of floating-point tensors' }),
    outside: choice(['refuse', 'keep'], {
      default: 'refuse',
      help: 'For a tensor with values that the dtype makes infinite or zero: write nothing, or keep its dtype',
    }),
    ...jsonOption,
  },
  async run([model, out], options, context) {
    const { castCommand } = await import('../commands/cast.js');
    await castCommand(model, out, options, context);
  },
});
