import { rm } from 'node:fs/promises';
import { measureCommand } from './measured-command.js';

/** A run on a published model whose prediction is compared with the measured run. */
export interface RealRun {
  /** Folder in `QUANT_REAL`. */
  readonly model: string;
  readonly name: string;
  readonly options: readonly string[];
}

export interface MeasuredForecast {
  /** Predicted peak in MB. */
  readonly forecast: number;
  readonly peak: number;
  /** Forecast divided by peak. */
  readonly ratio: number;
  readonly seconds: number;
  readonly took: number;
  readonly processor: number;
}

/** @param samples number of calibration windows of 256 tokens */
export function realRuns(samples: string): readonly RealRun[] {
  const plain = ['--layout', 'plain'];
  const calibrated = ['--method', 'gptq', '--calib', 'default', '--samples', samples, ...plain];
  const kinds: Readonly<Record<string, readonly string[]>> = {
    rtn: ['--method', 'rtn', ...plain],
    'rtn and tables': ['--method', 'rtn', '--embeddings', 'int4 g32', ...plain],
    gptq: calibrated,
    'gptq and tables': [...calibrated, '--embeddings', 'int4 g32'],
  };
  return ['minilm-l6', 'smollm2-135m', 'gemma3-270m'].flatMap((model) =>
    Object.entries(kinds).map(([name, options]) => ({ model, name, options })),
  );
}

/** Plans a run, runs it, and removes its files. */
export async function measureForecast(
  model: string,
  out: string,
  options: readonly string[],
): Promise<MeasuredForecast> {
  const { forecast } = JSON.parse((await measureCommand(['plan', model, ...options, '--json'])).out);
  const done = await measureCommand(['quantize', model, out, ...options, '--no-eval', '--json']);
  await rm(out, { recursive: true });
  const { total } = forecast.memory as { total: number };
  return {
    forecast: Math.round(total / 1e6),
    peak: Math.round(done.peakBytes / 1e6),
    ratio: Number((total / done.peakBytes).toFixed(2)),
    seconds: Number(forecast.seconds.toFixed(1)),
    took: Number(done.seconds.toFixed(1)),
    processor: Number(done.processorSeconds.toFixed(1)),
  };
}
