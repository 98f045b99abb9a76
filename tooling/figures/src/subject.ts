import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readU16Windows, type Windows } from '@q/calib';

/** A shared model with the windows that all peers were given. */
export interface Subject {
  readonly name: string;
  readonly folder: string;
  readonly calibration: Windows;
  readonly valid: Windows;
}

/** The shared models, and the group size that divides their layers (or nearly does: the tail of llama-5m is ragged). */
export const subjectGroups: Readonly<Record<string, number>> = { 'llama-5m': 128, 'gpt2-3m': 64, 'opt-3m': 64 };

/** @throws Error when QUANT_SHARED is not set */
export async function openSubject(name: string): Promise<Subject> {
  const shared = process.env.QUANT_SHARED;
  if (!shared) throw new Error('QUANT_SHARED must name the folder with the shared models');
  const folder = join(shared, 'models', name);
  const windows = async (file: string) => readU16Windows(await readFile(join(folder, file)), 256);
  return {
    name,
    folder,
    calibration: await windows('calib-128x256.u16'),
    valid: await windows('valid-60x256.u16'),
  };
}

/** The same subject with fewer windows: for a look that takes seconds. */
export function firstWindows(subject: Subject, samples: number, valid: number): Subject {
  return { ...subject, calibration: first(subject.calibration, samples), valid: first(subject.valid, valid) };
}

function first(windows: Windows, wanted: number): Windows {
  const count = Math.min(wanted, windows.count);
  return { ...windows, count, ids: windows.ids.subarray(0, count * windows.length) };
}
