import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

it('computes every tile once, whenever its threads are woken', async () => {
  const program = fileURLToPath(new URL('testing/disturbed-pool.ts', import.meta.url));
  const flags = ['--conditions=@q/source', '--import', 'tsx'];
  // Threads in the wrong job wait for ever: the time limit is what fails then.
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, program], { timeout: 60_000 });
  expect(Number.parseFloat(stdout)).toBeLessThan(1e-4);
});
