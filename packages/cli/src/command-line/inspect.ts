import { command } from '../command.js';
import { jsonOption } from '../shared-options.js';

export const inspect = command({
  name: 'inspect',
  summary: 'list every tensor, its scheme and bytes',
  arguments: [['<path>', 'model folder, .safetensors or .gguf file']],
  options: jsonOption,
  async run([path], options, context) {
    const { inspectCommand } = await import('../commands/inspect.js');
    await inspectCommand(path, options, context);
  },
});
