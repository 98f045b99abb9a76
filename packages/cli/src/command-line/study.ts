import { boolean, integer, text } from '@q/core';
import { command } from '../command.js';
import { computeOptions, jsonOption, storeOption, textFile } from '../shared-options.js';

export const studyLocalGlobal = command({
  options: {
    data: textFile('Text for calibration, training and scoring: text, JSON Lines, or .u16 or .u32 token ids.'),
    bits: text({ placeholder: 'list', otherwise: '8,6,4,3,2', help: 'Widths to compare, separated by commas.' }),
    groups: text({ placeholder: 'list', otherwise: '-1,64', help: 'Columns that share a scale; -1 is one channel.' }),
    methods: text({ placeholder: 'list', otherwise: 'all', help: 'Methods to compare, separated by commas.' }),
    seeds: integer({ min: 1, otherwise: '3', help: 'Seeds of every run; a seed draws the windows.' }),
    samples: integer({ min: 1, otherwise: '128', help: 'Windows that methods learn from.' }),
    length: integer({ min: 8, default: 256, help: 'Tokens of a window.' }),
    windows: integer({ min: 1, otherwise: '32', help: 'Held-out windows, from the end of the text.' }),
    quick: boolean({ help: 'One seed, one granularity, 32 windows, short trainings: minutes instead of hours.' }),
    queue: text({ placeholder: 'url', help: 'Let the workers of this queue carry out the runs. See q worker.' }),
    store: storeOption('OUT.store, removed at the end'),
    ...computeOptions,
    ...jsonOption,
  },
  async run([model, out], options, context) {
    const { studyCommand } = await import('../commands/study.js');
    await studyCommand(model, out, options, context);
  },
});
