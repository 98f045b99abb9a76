import { command } from '../command.js';
import { jsonOption } from '../shared-options.js';

export const inspect = command({
  options: jsonOption,
  async run([path], options, context) {
    const { inspectCommand } = await import('../commands/inspect.js');
    await inspectCommand(path, options, context);
  },
});
