import { cutWindows } from '@q/calib';
import { createRandom, tensor } from '@q/core';
import { evaluate, runWindows } from '@q/eval';
import {
  type Basin,
  basinRadius,
  distance,
  type LineScan,
  type LossOf,
  type PlaneScan,
  randomPoint,
  type StudyJob,
  type StudyResult,
  scanLine,
  scanPlane,
  type WeightPoint,
} from '@q/study';
import { type StudyGround, solveJob } from './run-job.js';

interface Landscape {
  readonly bits: number;
  readonly group: number;
  readonly lines: readonly LineScan[];
  readonly plane?: PlaneScan;
}

export interface Landscapes {
  readonly basin: Basin;
  /** Distance of round-to-nearest from the original over the basin's radius, by width. */
  readonly displacement: readonly { readonly bits: number; readonly ratio: number }[];
  readonly widths: readonly Landscape[];
}

/** Solutions of the plane, next to the original: a local and a global one. */
const planeMethods = ['gptq', 'qaft-teacher'] as const;
const lineMethods = ['rtn', ...planeMethods] as const;

/**
 * Scans the loss near the model: lines to the solutions of some widths and along a random direction of the same length
 * as round-to-nearest's, the plane through the original and two solutions, and the radius of the basin.
 * @param windows held-out windows that a point is scored on
 */
export async function scanLandscapes(
  results: readonly StudyResult[],
  widths: readonly number[],
  ground: StudyGround,
  windows: number,
  onPoint: (done: string) => void,
): Promise<Landscapes> {
  const { origin } = ground;
  const lossOf = await lossOn(ground, windows, onPoint);
  const rounded = results.filter(({ job }) => job.method === 'rtn');
  const start = Math.min(...rounded.map((result) => result.distance));
  const basin = await basinRadius(origin, start, lossOf, createRandom('basin'), { directions: 2, precision: 0.1 });
  const scanned: Landscape[] = [];
  for (const bits of widths) {
    const jobs = new Map<string, StudyJob>();
    for (const { job } of results)
      if (job.bits === bits && lineMethods.some((name) => name === job.method) && !jobs.has(job.method))
        jobs.set(job.method, job);
    const lines: LineScan[] = [];
    const ends = new Map<string, WeightPoint>();
    for (const [method, job] of jobs) {
      const end = await solveJob(job, ground);
      if (method === 'rtn') {
        const random = randomPoint(origin, distance(origin, end), createRandom(`direction ${bits}`));
        lines.push(await scanLine('random direction', origin, random, lossOf));
      } else ends.set(method, end);
      lines.push(await scanLine(method, origin, end, lossOf));
    }
    const [first, second] = planeMethods.map((method) => ends.get(method));
    const plane =
      first && second
        ? await scanPlane(['original', ...planeMethods], origin, [first, second], lossOf, [-0.25, 0, 0.5, 1, 1.25])
        : undefined;
    scanned.push({ bits, group: [...jobs.values()][0].group, lines, ...(plane ? { plane } : {}) });
  }
  const displacement = [...new Set(rounded.map(({ job }) => job.bits))].map((bits) => {
    const own = rounded.filter(({ job }) => job.bits === bits);
    const mean = own.reduce((sum, result) => sum + result.distance, 0) / own.length;
    return { bits, ratio: mean / basin.radius };
  });
  return { basin, displacement, widths: scanned };
}

async function lossOn(
  { model, checkpoint, compute, heldOut, signal, origin }: StudyGround,
  count: number,
  onPoint: (done: string) => void,
): Promise<LossOf> {
  const windows = cutWindows(heldOut.ids, heldOut.length, { count: Math.min(count, heldOut.count) });
  let points = 0;
  return async (point) => {
    const engine = await compute.forward(model);
    try {
      const weight = async (name: string) => {
        const module = name.replace(/\.weight$/, '');
        const values = origin.has(module) ? point.get(module) : undefined;
        const own = await checkpoint.weight(name);
        return values ? tensor('f32', own.shape, values) : own;
      };
      const source = await runWindows(model, engine, weight, windows, { signal });
      const { nll } = await evaluate(source, windows, { kernels: compute.kernels, signal });
      return nll;
    } catch (error) {
      signal.throwIfAborted();
      // Far from the original the forward pass overflows. This counts as an infinite loss, and not as a failure of the
      // study.
      if ((error as Error).name === 'NumericError') return Number.POSITIVE_INFINITY;
      throw error;
    } finally {
      onPoint(`${++points} points of the landscape`);
      await engine.dispose();
    }
  };
}
