import { createRandom, SchemeError } from '@q/core';
import { describe, expect, it } from 'vitest';
import { conclude } from './conclusion.js';
import { localGlobalJobs, localGlobalMethods, moduleSensitivities, summarize } from './local-global.js';
import { runStudy } from './run-study.js';
import { studyCsv } from './study-csv.js';
import type { StudyJob, StudyResult } from './study-job.js';

const random = createRandom('study');
/** A world where the loss follows the layer error at 4 bits and is noise at 2. */
const resultOf = (job: StudyJob): StudyResult => {
  const layerError = 2 ** -job.bits * (1 + random.uniform());
  const global = job.method.startsWith('qaft');
  const nll = job.bits > 2 ? 3 + layerError + (global ? 0.2 : 0) : 3.5 + random.uniform() / 100 - (global ? 0.4 : 0);
  return {
    job,
    ...{ nll, kl: nll - 3, bytes: 1000, seconds: 1, distance: layerError, layerError },
    weightedLayerError: layerError * (1 + 0.1 * random.uniform()),
    modules: { a: layerError * 0.9, b: layerError * 0.1 },
  };
};

describe('a study of local and global losses', () => {
  it('has unique jobs that are fit for file names; methods without a seed run once', () => {
    const jobs = localGlobalJobs();
    expect(new Set(jobs.map(({ id }) => id)).size).toBe(jobs.length);
    expect(jobs.every(({ id }) => /^[\w.-]+$/.test(id))).toBe(true);
    expect(jobs.filter(({ method }) => method === 'rtn')).toHaveLength(5 * 2);
    expect(jobs.filter(({ method, samples }) => method === 'gptq-paper' && samples === 128)).toHaveLength(
      5 * 2 * 3 * 3,
    );
    expect(jobs.filter(({ samples }) => samples === 512).every(({ bits }) => bits === 2)).toBe(true);
    const trains = new Map(localGlobalMethods.map((method) => [method.name, method.trains]));
    const firstTraining = jobs.findIndex(({ method }) => trains.get(method));
    expect(firstTraining).toBeGreaterThan(0);
    expect(jobs.slice(firstTraining).every(({ method }) => trains.get(method))).toBe(true);
    expect(localGlobalJobs({ quick: true })).toHaveLength(5 * localGlobalMethods.length);
    expect(() => localGlobalJobs({ bits: [9] })).toThrow(SchemeError);
    expect(() => localGlobalJobs({ samples: 0 })).toThrow(/whole numbers of windows/);
  });

  it('goes on where it stopped', async () => {
    const jobs = localGlobalJobs({ quick: true });
    const kept = new Map<string, StudyResult>();
    const store = {
      load: async (id: string) => kept.get(id),
      save: async (result: StudyResult) => void kept.set(result.job.id, result),
    };
    let executed = 0;
    const dying = async (job: StudyJob) => {
      if (++executed > 4) throw new Error('out of power');
      return resultOf(job);
    };
    await expect(runStudy(jobs, dying, { store })).rejects.toThrow('out of power');
    executed = 0;
    const results = await runStudy(
      jobs,
      async (job) => {
        executed++;
        return resultOf(job);
      },
      { store },
    );
    expect(executed).toBe(jobs.length - 4);
    expect(results.map(({ job }) => job.id)).toEqual(jobs.map(({ id }) => id));
  });

  it('finds what the runs say: aligned at 4 bits, not at 2, where the global loss wins', () => {
    const results = localGlobalJobs({ bits: [4, 2], groups: [64] }).map(resultOf);
    const summaries = summarize(results, 128);
    expect(summaries.map(({ bits }) => bits)).toEqual([4, 2]);
    const [four, two] = summaries;
    const local = results.filter(({ job }) => job.bits === 4 && !job.method.startsWith('qaft'));
    expect(local.length).toBeGreaterThan(10);
    expect(four.best.objective).not.toBe('global');
    expect(two.best.objective).toBe('global');
    expect(Math.abs(two.misalignment.value as number)).toBeLessThan(0.6);
    const paper = four.methods.find(({ method }) => method === 'gptq-paper');
    expect(paper?.seeds).toBe(3);
    // The setting of lowest mean loss, by hand.
    const means = [0.01, 0.001, 0.1].map((damping) => {
      const own = results.filter(
        ({ job }) =>
          job.bits === 4 && job.samples === 128 && job.method === 'gptq-paper' && job.setting.damping === damping,
      );
      return own.reduce((sum, { nll }) => sum + nll, 0) / own.length;
    });
    expect(paper?.nll.mean).toBeCloseTo(Math.min(...means), 12);
    const said = conclude(summaries, 3);
    expect(said[0]).toMatch(/^4 bits, groups of 64: The local loss wins/);
    expect(said[1]).toMatch(/^2 bits, groups of 64: The global loss wins/);
    const [first] = moduleSensitivities(results, 4);
    expect(first.share).toBeGreaterThan(0);
  });

  it('writes a table that quotes what needs it', () => {
    const [job] = localGlobalJobs({ quick: true });
    const text = studyCsv([resultOf({ ...job, setting: { note: 'a,"b"' } })]);
    expect(text.split('\r\n')[0]).toMatch(/^id,method,bits/);
    expect(text).toContain('"note=a,""b"""');
  });
});
