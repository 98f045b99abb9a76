import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));

/** Sums the reports in `.reports`: vitest's JSON, and the `{passed, failed, skipped}` of the client checks. */
export function summarize() {
  const folder = join(root, '.reports');
  const sum = { passed: 0, failed: 0, skipped: 0 };
  for (const file of existsSync(folder) ? readdirSync(folder).sort() : []) {
    if (!/^(vitest|client)-.*\.json$/.test(file)) continue;
    const report = JSON.parse(readFileSync(join(folder, file), 'utf8'));
    sum.passed += report.numPassedTests ?? report.passed ?? 0;
    // A suite that could not be loaded has no test that failed: count the suite.
    sum.failed += report.failed ?? Math.max(report.numFailedTests ?? 0, report.success === false ? 1 : 0);
    sum.skipped += (report.numPendingTests ?? 0) + (report.numTodoTests ?? 0) + (report.skipped ?? 0);
  }
  const line = `${sum.passed} passed, ${sum.failed} failed${sum.skipped ? `, ${sum.skipped} skipped` : ''}`;
  return { ...sum, line };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const totals = summarize();
  console.log(totals.line);
  process.exit(totals.failed > 0 || totals.passed === 0 ? 1 : 0);
}
