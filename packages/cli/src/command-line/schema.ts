import { recipeSchema } from '@q/pipeline';
import { command } from '../command.js';

export const schema = command({
  options: {},
  async run(_args, _options, { terminal, vocabulary }) {
    terminal.printJson(recipeSchema(vocabulary));
  },
});
