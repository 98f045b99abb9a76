import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cutWindows, readU16Windows, type Windows } from '@q/calib';
import { consecutiveWindows } from './consecutive-windows.js';
import { convertLlama2c } from './convert-llama2c.js';
import { openTokenizer } from './stories.js';

/** A shared model with the windows of all peers. */
export interface Subject {
  readonly name: string;
  readonly folder: string;
  readonly calibration: Windows;
  readonly valid: Windows;
}

/**
 * The shared models, with the group size that divides their layers (nearly: the last groups of llama-5m are shorter).
 */
export const subjectGroups: Readonly<Record<string, number>> = { 'llama-5m': 128, 'gpt2-3m': 64, 'opt-3m': 64 };

/** Published models in the folder of `QUANT_REAL`, with windows of WikiText-2. */
const published: readonly string[] = ['smollm2-135m', 'gemma3-270m'];

/** @throws Error when QUANT_SHARED, or QUANT_REAL for a published model, is not set */
export async function openSubject(name: string): Promise<Subject> {
  const shared = process.env.QUANT_SHARED;
  if (!shared) throw new Error('QUANT_SHARED must name the folder with the shared models');
  if (name === 'stories260K') return openStories(shared);
  if (published.includes(name)) return openPublished(name, shared);
  const folder = join(shared, 'models', name);
  const windows = async (file: string) => readU16Windows(await readFile(join(folder, file)), 256);
  return {
    name,
    folder,
    calibration: await windows('calib-128x256.u16'),
    valid: await windows('valid-60x256.u16'),
  };
}

/** 128 windows for calibration, and the next 60. */
async function openPublished(name: string, shared: string): Promise<Subject> {
  const real = process.env.QUANT_REAL;
  if (!real) throw new Error('QUANT_REAL must name the folder with the published models');
  const folder = join(real, name);
  const text = join(shared, 'data/text/wikitext-2-raw-test.txt');
  const { calibration, heldOut } = await consecutiveWindows(folder, text, { calibration: 128, heldOut: 60 });
  return { name, folder, calibration, valid: heldOut };
}

/** stories260K, converted into the temporary folder, with the texts of the other models. */
async function openStories(shared: string): Promise<Subject> {
  const folder = join(tmpdir(), 'q-figures-stories260k');
  const source = join(shared, 'data', 'stories260k');
  await convertLlama2c(join(source, 'stories260K.bin'), join(source, 'tok512.bin'), folder);
  const tokenizer = await openTokenizer(folder);
  const windows = async (file: string, count: number) => {
    const text = await readFile(join(shared, 'data', 'text', file), 'utf8');
    const stories = text.split('<|endoftext|>').map((story) => story.trim());
    const ids = stories.filter((story) => story !== '').flatMap((story) => [1, ...tokenizer.encode(story)]);
    return cutWindows(Int32Array.from(ids.slice(0, count * 256)), 256, { count, name: file });
  };
  return {
    ...{ name: 'stories260K', folder },
    calibration: await windows('tinystories-train.txt', 128),
    valid: await windows('tinystories-valid.txt', 60),
  };
}

/** The same subject with fewer windows, for a measurement of seconds. */
export function firstWindows(subject: Subject, samples: number, valid: number): Subject {
  return { ...subject, calibration: first(subject.calibration, samples), valid: first(subject.valid, valid) };
}

function first(windows: Windows, wanted: number): Windows {
  const count = Math.min(wanted, windows.count);
  return { ...windows, count, ids: windows.ids.subarray(0, count * windows.length) };
}
