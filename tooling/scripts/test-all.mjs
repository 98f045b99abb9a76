/**
 * `npm test` runs every check in order, then prints the totals of all test reports. A failed step does not stop the
 * others.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { printSummary, recordFailure, root } from './test-reports.mjs';

const reports = new URL('../../.reports/', import.meta.url);
rmSync(reports, { recursive: true, force: true });
mkdirSync(reports, { recursive: true });

const steps = ['build', 'lint', 'typecheck', 'check:packages', 'test:unit'];
for (const step of steps) {
  console.log(`\n== ${step}`);
  const started = performance.now();
  const { status, signal, error } = spawnSync('pnpm', ['run', '--silent', step], {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, Q_REPORT: '1', TURBO_TELEMETRY_DISABLED: '1' },
    shell: process.platform === 'win32',
  });
  if (status === 0) {
    console.log(`${step}: ok, ${((performance.now() - started) / 1000).toFixed(0)} s`);
    continue;
  }
  const why = `step ${step} ended with ${error ? error.message : signal ? `signal ${signal}` : `exit code ${status}`}`;
  recordFailure(step.replaceAll(':', '-'), why, step === 'test:unit' ? ['vitest-'] : []);
  if (step === 'build') break;
}
console.log();
process.exit(printSummary());
