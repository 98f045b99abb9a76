import type { StudyResult } from './study-job.js';

const columns = [
  ...['id', 'method', 'bits', 'group', 'seed', 'samples', 'setting', 'nll', 'kl', 'bytes', 'seconds', 'distance'],
  ...['layerError', 'weightedLayerError'],
] as const;

/** All runs as a table of RFC 4180. */
export function studyCsv(results: readonly StudyResult[]): string {
  const rows = results.map(({ job, ...figures }) => {
    const setting = Object.entries(job.setting)
      .map(([key, value]) => `${key}=${value}`)
      .join(' ');
    const values: Record<string, string | number> = {
      ...{
        id: job.id,
        method: job.method,
        bits: job.bits,
        group: job.group,
        seed: job.seed,
        samples: job.samples,
        setting,
      },
      ...{
        nll: figures.nll,
        kl: figures.kl,
        bytes: figures.bytes,
        seconds: figures.seconds,
        distance: figures.distance,
      },
      ...{ layerError: figures.layerError, weightedLayerError: figures.weightedLayerError },
    };
    return columns.map((column) => quote(String(values[column])));
  });
  return `${[columns, ...rows].map((row) => row.join(',')).join('\r\n')}\r\n`;
}

const quote = (text: string) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
