/** `npm test`: every check in order, then the totals of all test reports. Stops at the first check that fails. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { root, summarize } from './test-reports.mjs';

const reports = new URL('../../.reports/', import.meta.url);
rmSync(reports, { recursive: true, force: true });
mkdirSync(reports, { recursive: true });

const steps = ['build', 'lint', 'typecheck', 'check:packages', 'test:unit'];
let failed = false;
for (const step of steps) {
  console.log(`\n== ${step}`);
  const { status } = spawnSync('pnpm', ['run', '--silent', step], {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, Q_REPORT: '1' },
    shell: process.platform === 'win32',
  });
  if (status !== 0) {
    console.error(`${step} failed (exit code ${status})`);
    failed = true;
    if (step === 'build') break;
  }
}
const totals = summarize();
console.log(`\n${totals.line}`);
process.exit(failed || totals.failed > 0 || totals.passed === 0 ? 1 : 0);
