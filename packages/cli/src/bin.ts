#!/usr/bin/env node
import { main } from './main.js';

const controller = new AbortController();
let interrupts = 0;
process.on('SIGINT', () => {
  // The second one does not wait for the layer in progress.
  if (++interrupts > 1) process.exit(130);
  process.stderr.write('\nStopping after the step in progress (again: at once) …\n');
  controller.abort();
});
process.on('SIGTERM', () => controller.abort());
// A reader that goes away (| head) is not an error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

process.exitCode = await main(process.argv.slice(2), { out: process.stdout, err: process.stderr }, controller.signal);
