/**
 * The totals of `.reports`: vitest's JSON, the `{passed, failed, skipped}` of the client checks, and `failed-*.json` of
 * steps that are not tests (a build, a lint). `--failed NAME WHY` records that NAME failed; without an argument the
 * totals are printed.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = join(root, '.reports');

/**
 * Records a failed step. It counts as one failure with a name in the summary, unless reports whose names begin with one
 * of `covers` already have failures. So every failure counts, and none counts twice.
 */
export function recordFailure(name, why, covers) {
  console.error(why);
  if (summarize((file) => covers.some((prefix) => file.startsWith(prefix))).failed > 0) return;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `failed-${name}.json`), `${JSON.stringify({ why })}\n`);
}

/**
 * Totals of the `wanted` report files, and the names of the failed tests.
 * @returns {{ passed: number, failed: number, skipped: number, failures: string[], line: string }}
 */
export function summarize(wanted = () => true) {
  const sum = { passed: 0, failed: 0, skipped: 0 };
  const failures = [];
  for (const file of existsSync(folder) ? readdirSync(folder).sort() : []) {
    const kind = /^(vitest|client|failed)-(.*)\.json$/.exec(file);
    if (!kind || !wanted(file)) continue;
    const report = readReport(join(folder, file));
    if (kind[1] === 'failed') {
      failures.push(report.why ?? kind[2]);
      sum.failed++;
      continue;
    }
    const names = failedTests(report);
    sum.passed += report.numPassedTests ?? report.passed ?? 0;
    sum.skipped += (report.numPendingTests ?? 0) + (report.numTodoTests ?? 0) + (report.skipped ?? 0);
    // A suite that could not be loaded has no failed test, so the suite itself counts.
    const failed = report.failed ?? Math.max(report.numFailedTests ?? 0, report.success === false ? 1 : 0);
    sum.failed += failed;
    if (failed > 0) failures.push(...(names.length > 0 ? names : [`${kind[1]} ${kind[2]}: ${failed} failed`]));
  }
  const line = `${sum.passed} passed, ${sum.failed} failed${sum.skipped ? `, ${sum.skipped} skipped` : ''}`;
  return { ...sum, failures, line };
}

function readReport(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    // The process ended while it wrote its report.
    return { failed: 1 };
  }
}

function failedTests({ testResults = [] }) {
  return testResults.flatMap(({ name, status, message, assertionResults = [] }) => {
    const failed = assertionResults.filter((test) => test.status === 'failed').map(({ fullName }) => fullName);
    const shown = name.startsWith(root) ? name.slice(root.length) : name;
    if (failed.length > 0) return failed.map((test) => `${shown}: ${test}`);
    return status === 'failed' ? [`${shown}: ${(message ?? '').split('\n')[0] || 'could not be run'}`] : [];
  });
}

/** Prints the failed tests, and the totals as the last line. */
export function printSummary() {
  const totals = summarize();
  for (const failure of totals.failures) console.log(`failed: ${failure}`);
  if (totals.passed === 0) console.log('failed: no test has passed');
  console.log(totals.line);
  return totals.failed > 0 || totals.passed === 0 ? 1 : 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [flag, name, why] = process.argv.slice(2);
  if (flag !== '--failed') process.exit(printSummary());
  recordFailure(name, why, name === 'npm-test' ? [''] : [name]);
}
