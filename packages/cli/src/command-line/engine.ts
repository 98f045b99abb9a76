import { boolean } from '@q/core';
import { command } from '../command.js';
import { computeOptions, jsonOption } from '../shared-options.js';

export const engineList = command({
  options: { threads: computeOptions.threads, ...jsonOption },
  async run(_args, options, context) {
    const { engineListCommand } = await import('../commands/engine.js');
    await engineListCommand(options, context);
  },
});

export const engineSetup = command({
  options: { force: boolean({ help: 'Set up again, also when it works.' }), ...jsonOption },
  async run([name], options, context) {
    const { engineSetupCommand } = await import('../commands/engine.js');
    await engineSetupCommand(name, options, context);
  },
});
