import { castDtypes } from '@q/checkpoint';
import { choice } from '@q/core';
import { command } from '../command.js';
import { jsonOption } from '../shared-options.js';

export const cast = command({
  options: {
    dtype: choice(Object.keys(castDtypes), { help: 'What floating-point tensors become' }),
    outside: choice(['refuse', 'keep'], {
      default: 'refuse',
      help: 'What is done about a tensor with values that the dtype makes infinite or zero: nothing is written, or it keeps its dtype',
    }),
    ...jsonOption,
  },
  async run([model, out], options, context) {
    const { castCommand } = await import('../commands/cast.js');
    await castCommand(model, out, options, context);
  },
});
