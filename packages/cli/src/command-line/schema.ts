import { recipeSchema } from '@q/pipeline';
import { command } from '../command.js';

export const schema = command({
  name: 'schema',
  summary: 'print the JSON Schema of recipe files, for editors',
  arguments: [],
  options: {},
  async run(_args, _options, { terminal, vocabulary }) {
    terminal.printJson(recipeSchema(vocabulary));
  },
});
