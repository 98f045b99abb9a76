import { describe, expect, it } from 'vitest';
import { highWaterMark, processContender, runMeasured } from './measured-process.js';

const node = (script: string) => ({ file: process.execPath, args: ['-e', script] });

describe('runMeasured', () => {
  it('reads the high-water mark out of the status of a process', () => {
    expect(highWaterMark('Name:\tnode\nVmPeak:\t  900 kB\nVmHWM:\t    1234 kB\nVmRSS:\t 10 kB\n')).toBe(1234 * 1024);
    expect(highWaterMark('')).toBeUndefined();
  });

  it.runIf(process.platform === 'linux')('sees memory that was given back before the end', async () => {
    const script = 'let a = Buffer.alloc(2e8, 1); a = undefined; setTimeout(() => {}, 100)';
    expect(await runMeasured(node(script))).toBeGreaterThan(2e8);
  });

  it('throws with what a program said when it fails', async () => {
    await expect(runMeasured(node('console.error("no such model"); process.exit(3)'))).rejects.toThrow(
      /ended with 3: no such model/,
    );
    await expect(runMeasured({ file: '/no/such/program', args: [] })).rejects.toThrow(/ENOENT/);
  });

  it('makes a contender that asks for its command before each run and passes variables', async () => {
    let runs = 0;
    const contender = processContender('node', () => {
      runs++;
      return { ...node('process.exit(process.env.Q_TEST === "1" ? 0 : 1)'), env: { Q_TEST: '1' } };
    });
    await contender.run();
    await contender.run();
    expect(runs).toBe(2);
  });
});
