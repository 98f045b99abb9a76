import { SchemeError } from '@q/core';
import { type RankCorrelation, rankCorrelation } from './rank-correlation.js';
import type { StudyJob, StudyMethod, StudyResult } from './study-job.js';

/**
 * The methods of a study of local and global losses (arXiv 2410.14570). The protocol is ours. The paper's abstract
 * names GPTQ with tuned damping and QAFT with a grid of rates on the same 128 samples; it names no settings.
 */
export const localGlobalMethods: readonly StudyMethod[] = [
  {
    name: 'rtn',
    objective: 'none',
    about: 'Rounds each weight to the nearest point of a grid over the range of its group.',
    settings: [{}],
    trains: false,
    seeded: false,
  },
  {
    name: 'gptq-paper',
    objective: 'local',
    about: 'GPTQ as published, with its damping tuned.',
    settings: [{ damping: 0.01 }, { damping: 0.001 }, { damping: 0.1 }],
    trains: false,
    seeded: true,
  },
  {
    name: 'gptq',
    objective: 'local',
    about: 'The default GPTQ of this toolkit: searched grids, correction of earlier errors, refinement.',
    settings: [{}],
    trains: false,
    seeded: true,
  },
  {
    name: 'gptq-end-loss',
    objective: 'local',
    about: 'The same, refined across outputs by gradients of the end loss.',
    settings: [{ objective: 'end-loss' }],
    trains: false,
    seeded: true,
  },
  {
    name: 'signround',
    objective: 'local',
    about: 'Learns the rounding of each block against its own output.',
    settings: [{}],
    trains: true,
    seeded: true,
  },
  {
    name: 'qaft-labels',
    objective: 'global',
    about: 'Fine-tunes all weights through the rounding on the next token of the text.',
    settings: [
      { loss: 'labels', rate: 2e-4 },
      { loss: 'labels', rate: 6e-5 },
      { loss: 'labels', rate: 6e-4 },
    ],
    trains: true,
    seeded: true,
  },
  {
    name: 'qaft-teacher',
    objective: 'global',
    about: "Fine-tunes all weights through the rounding on the unquantized model's distribution.",
    settings: [{ loss: 'teacher' }],
    trains: true,
    seeded: true,
  },
];

export interface LocalGlobalOptions {
  readonly methods?: readonly StudyMethod[];
  /** Default 8, 6, 4, 3, 2. */
  readonly bits?: readonly number[];
  /** Default: one scale per channel, and groups of 64. */
  readonly groups?: readonly number[];
  /** Default 0, 1, 2. A seed draws the calibration windows. */
  readonly seeds?: readonly number[];
  /** Default 128. */
  readonly samples?: number;
  /**
   * Numbers of windows for the comparison over amounts of data, at the fewest bits and the first seed. Default 8, 32,
   * 512.
   */
  readonly data?: readonly number[];
  /** True: one seed, one granularity, one setting a method, no comparison over data. */
  readonly quick?: boolean;
}

/**
 * All runs of a study, with one seed of all bits first. Methods that train come after the others: a training of one
 * width may take longer than all other runs together (87 s and 2 to 7 s a run for a model of 0.26 M parameters).
 * @throws SchemeError when a number of bits or of windows is out of range
 */
export function localGlobalJobs(options: LocalGlobalOptions = {}): readonly StudyJob[] {
  const { methods = localGlobalMethods, bits = [8, 6, 4, 3, 2], samples = 128, quick = false } = options;
  const groups = options.groups ?? (quick ? [64] : [-1, 64]);
  const seeds = options.seeds ?? (quick ? [0] : [0, 1, 2]);
  const data = options.data ?? (quick ? [] : [8, 32, 512]);
  const wrong = bits.find((width) => !Number.isInteger(width) || width < 2 || width > 8);
  if (bits.length === 0 || wrong !== undefined)
    throw new SchemeError(`a study takes 2 to 8 bits, got ${wrong ?? 'none'}`);
  if ([samples, ...data].some((count) => !Number.isInteger(count) || count < 1))
    throw new SchemeError(`a study takes whole numbers of windows of at least 1, got ${[samples, ...data].join(', ')}`);
  const jobs = new Map<string, { readonly trains: boolean; readonly job: StudyJob }>();
  const add = (method: StudyMethod, job: Omit<StudyJob, 'id' | 'method'>) => {
    const id = idOf(method.name, job);
    jobs.set(id, { trains: method.trains, job: { id, method: method.name, ...job } });
  };
  for (const seed of seeds)
    for (const group of groups)
      for (const width of bits)
        for (const method of methods) {
          if (seed !== seeds[0] && !method.seeded) continue;
          const settings = quick ? (method.quickSettings ?? method.settings.slice(0, 1)) : method.settings;
          for (const setting of settings) add(method, { bits: width, group, seed, samples, setting });
        }
  for (const count of data)
    for (const method of methods)
      if (method.objective !== 'none')
        add(method, {
          ...{ bits: Math.min(...bits), group: groups[0], seed: seeds[0], samples: count },
          setting: method.settings[0],
        });
  const runs = [...jobs.values()];
  return [...runs.filter(({ trains }) => !trains), ...runs.filter(({ trains }) => trains)].map(({ job }) => job);
}

function idOf(method: string, { bits, group, seed, samples, setting }: Omit<StudyJob, 'id' | 'method'>): string {
  const settings = Object.entries(setting).map(([key, value]) => `${key}-${value}`);
  return [method, `${bits}b`, group === -1 ? 'channel' : `g${group}`, `s${seed}`, `n${samples}`, ...settings].join('_');
}

export interface WidthSummary {
  readonly bits: number;
  readonly group: number;
  /** For each method, its setting of lowest loss, with mean and range over the seeds. */
  readonly methods: readonly MethodSummary[];
  /** Rank correlation of the layer error with the held-out loss, over all methods, seeds and settings of these bits. */
  readonly misalignment: RankCorrelation;
  /** The same with layer errors that are weighted by gradients of the end loss. */
  readonly weightedMisalignment: RankCorrelation;
  /** The method with the lowest mean loss, and the kind of its objective. */
  readonly best: { readonly method: string; readonly objective: StudyMethod['objective'] };
}

export interface MethodSummary {
  readonly method: string;
  readonly objective: StudyMethod['objective'];
  readonly setting: StudyJob['setting'];
  readonly seeds: number;
  readonly nll: { readonly mean: number; readonly min: number; readonly max: number };
  readonly kl: { readonly mean: number; readonly min: number; readonly max: number };
  readonly layerError: number;
  readonly weightedLayerError: number;
  readonly distance: number;
  readonly seconds: number;
  readonly bytes: number;
}

/** Results by bits and granularity, most bits first. Only runs with the study's own number of windows count. */
export function summarize(
  results: readonly StudyResult[],
  samples: number,
  methods: readonly StudyMethod[] = localGlobalMethods,
): readonly WidthSummary[] {
  const own = results.filter(({ job }) => job.samples === samples);
  const keys = [...new Set(own.map(({ job }) => `${job.bits} ${job.group}`))];
  return keys
    .map((key): WidthSummary => {
      const here = own.filter(({ job }) => `${job.bits} ${job.group}` === key);
      const [{ job }] = here;
      const summaries = methods.flatMap((method) => summarizeMethod(method, here) ?? []);
      const nll = here.map((result) => result.nll);
      const best = summaries.reduce((a, b) => (b.nll.mean < a.nll.mean ? b : a));
      return {
        bits: job.bits,
        group: job.group,
        methods: summaries,
        misalignment: rankCorrelation(
          here.map(({ layerError }) => layerError),
          nll,
          key,
        ),
        weightedMisalignment: rankCorrelation(
          here.map(({ weightedLayerError }) => weightedLayerError),
          nll,
          key,
        ),
        best: { method: best.method, objective: best.objective },
      };
    })
    .sort((a, b) => b.bits - a.bits || a.group - b.group);
}

function summarizeMethod(method: StudyMethod, results: readonly StudyResult[]): MethodSummary | undefined {
  const bySetting = groupBySetting(results.filter(({ job }) => job.method === method.name));
  const candidates = [...bySetting.values()].map((runs) => ({
    runs,
    mean: meanOf(runs.map(({ nll }) => nll)),
  }));
  if (candidates.length === 0) return undefined;
  const { runs } = candidates.reduce((a, b) => (b.mean < a.mean ? b : a));
  const mean = (pick: (result: StudyResult) => number) => meanOf(runs.map(pick));
  const range = (pick: (result: StudyResult) => number) => ({
    mean: mean(pick),
    min: Math.min(...runs.map(pick)),
    max: Math.max(...runs.map(pick)),
  });
  return {
    method: method.name,
    objective: method.objective,
    setting: runs[0].job.setting,
    seeds: runs.length,
    nll: range(({ nll }) => nll),
    kl: range(({ kl }) => kl),
    layerError: mean(({ layerError }) => layerError),
    weightedLayerError: mean(({ weightedLayerError }) => weightedLayerError),
    distance: mean(({ distance }) => distance),
    seconds: mean(({ seconds }) => seconds),
    bytes: mean(({ bytes }) => bytes),
  };
}

function groupBySetting(results: readonly StudyResult[]): Map<string, StudyResult[]> {
  const groups = new Map<string, StudyResult[]>();
  for (const result of results) {
    const key = JSON.stringify(result.job.setting);
    groups.set(key, [...(groups.get(key) ?? []), result]);
  }
  return groups;
}

const meanOf = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

export interface ModuleSensitivity {
  readonly module: string;
  /** Rank correlation of this linear's error with the held-out loss, over the runs of the same bits. */
  readonly correlation: RankCorrelation;
  /** Mean share of this module in the summed error. */
  readonly share: number;
}

/**
 * The correlation of each linear's error with the loss, for one number of bits over all granularities. It shows which
 * modules' errors matter.
 */
export function moduleSensitivities(results: readonly StudyResult[], bits: number): readonly ModuleSensitivity[] {
  const here = results.filter(({ job }) => job.bits === bits);
  const modules = Object.keys(here[0]?.modules ?? {});
  return modules
    .map((module) => ({
      module,
      correlation: rankCorrelation(
        here.map((result) => result.modules[module]),
        here.map(({ nll }) => nll),
        module,
      ),
      share: meanOf(here.map((result) => result.modules[module] / result.layerError)),
    }))
    .sort((a, b) => (b.correlation.value ?? -2) - (a.correlation.value ?? -2));
}
