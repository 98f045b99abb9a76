import { createHash, type Hash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Windows } from '@q/calib';
import type { Checkpoint } from '@q/checkpoint';
import { toolkitVersion } from './toolkit-version.js';

/** Models up to this size are hashed as a whole. */
const wholeBytes = 64 * 2 ** 20;

/** Of larger models, the first and last bytes of tensors are hashed, of this many tensors at most. */
const sampleBytes = 4096;
const sampledTensors = 4096;

/**
 * Adds the identity of a model folder: the toolkit's version, config, headers, sizes and times of its weight files, and
 * their bytes. In large models samples of the bytes are hashed.
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

/** The identity stays the same during a process, because every run on a checkpoint needs it. */
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
