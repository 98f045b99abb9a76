import { integer, text } from '@q/core';
import { Option as Flag } from 'commander';
import { command } from '../command.js';
import { computeOptions } from '../shared-options.js';

export const worker = command({
  options: {
    store: text({
      placeholder: 'folder',
      otherwise: 'as the run names it',
      help: 'The store of the runs on this machine: a folder, or s3://bucket/prefix.',
    }),
    lock: integer({
      min: 1,
      default: 30,
      help: 'Seconds without an answer after which a job of this worker is given to another.',
    }),
    ...computeOptions,
  },
  flags(made) {
    // The process that computes, while its parent renews the lock.
    made.addOption(new Flag('--compute', 'compute for the worker that has started this process').hideHelp());
  },
  async run([queue], options, context) {
    const { workerCommand } = await import('../commands/worker.js');
    await workerCommand(queue, options, context);
  },
});
