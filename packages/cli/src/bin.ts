#!/usr/bin/env node
import { main } from './main.js';
import { watchStreams } from './watch-streams.js';

const controller = new AbortController();
let interrupts = 0;
process.on('SIGINT', () => {
  // The second signal does not wait for the current module.
  if (++interrupts > 1) process.exit(130);
  process.stderr.write('\nStopping after the step in progress (again: at once) …\n');
  controller.abort();
});
process.on('SIGTERM', () => controller.abort());
watchStreams(process.stdout, process.stderr, (code) => process.exit(code));

process.exitCode = await main(process.argv.slice(2), { out: process.stdout, err: process.stderr }, controller.signal);
