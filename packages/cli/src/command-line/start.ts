import { command } from '../command.js';
import { jsonOption } from '../shared-options.js';

export const start = command({
  options: jsonOption,
  async run(_args, options, context) {
    const { startCommand } = await import('../commands/start.js');
    await startCommand(options, context);
  },
});
