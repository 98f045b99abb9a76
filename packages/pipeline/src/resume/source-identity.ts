import { createHash, type Hash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Windows } from '@q/calib';
import type { Checkpoint } from '@q/checkpoint';
import { toolkitVersion } from './toolkit-version.js';

/** Models up to this size are read as a whole. */
const wholeBytes = 64 * 2 ** 20;

/** Of larger ones the begin and the end of tensors are read, of this many tensors at most. */
const sampleBytes = 4096;
const sampledTensors = 4096;

/**
 * Adds what says that a model folder is the same as before: the toolkit's version, config, headers, sizes and times of its
 * weight files, and their bytes: all of them, or in large models samples of them.
 */
export async function hashCheckpoint(hash: Hash, checkpoint: Checkpoint): Promise<void> {
  hash.update(`@q ${toolkitVersion}`);
  hash.update(JSON.stringify(checkpoint.config));
  hash.update(JSON.stringify([...checkpoint.tensors]));
  for (const file of checkpoint.weightFiles) {
    const { size, mtimeMs } = await stat(file);
    hash.update(`${basename(file)} ${size} ${mtimeMs}`);
  }
  hash.update(await bytesIdentity(checkpoint));
}

const known = new WeakMap<Checkpoint, Promise<string>>();

/** The same all along a process: a checkpoint is asked for by each of its runs. */
function bytesIdentity(checkpoint: Checkpoint): Promise<string> {
  const found = known.get(checkpoint) ?? sampleSum(checkpoint);
  known.set(checkpoint, found);
  return found;
}

async function sampleSum({ tensors, bytes, readBytes }: Checkpoint): Promise<string> {
  const hash = createHash('sha256');
  const whole = bytes <= wholeBytes;
  const step = whole ? 1 : Math.ceil(tensors.size / sampledTensors);
  for (const [index, [name, { begin, end }]] of [...tensors].entries()) {
    if (index % step !== 0) continue;
    const size = end - begin;
    if (whole || size <= 2 * sampleBytes) hash.update(await readBytes(name));
    else {
      hash.update(await readBytes(name, 0, sampleBytes));
      hash.update(await readBytes(name, size - sampleBytes, size));
    }
  }
  return hash.digest('hex');
}

/** Adds the token ids of windows. */
export function hashWindows(hash: Hash, { count, length, lengths, ids }: Windows): void {
  hash.update(`${count} ${lengths ?? length}`);
  hash.update(new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength));
}
