import type { LogitsArgs, LogitsScores } from '@q/core';
import type { Pool } from './pool.js';

/** Logits of a model that are in the shared memory at a time. */
const chunkValues = 4 << 20;
/** The number of f64 values that the kernel writes for a row. */
const scoresOfRow = 5;

/** Scores rows of both models' logits in chunks of the shared memory; each thread takes a few rows at a time. */
export function scoreLogits(pool: Pool, { logits, original, rows, vocabulary }: LogitsArgs): LogitsScores {
  const scores = { logs: new Float64Array(rows), tops: new Int32Array(rows) };
  const compared = original && {
    ...{ logs: new Float64Array(rows), tops: new Int32Array(rows), divergences: new Float64Array(rows) },
  };
  const atOnce = Math.min(rows, Math.max(1, Math.floor(chunkValues / vocabulary)));
  pool.reset(atOnce * (8 * vocabulary + 8 * scoresOfRow) + 65536);
  const model = pool.f32(atOnce * vocabulary);
  const other = original ? pool.f32(atOnce * vocabulary) : undefined;
  const found = pool.f64(atOnce * scoresOfRow);
  for (let start = 0; start < rows; start += atOnce) {
    const count = Math.min(atOnce, rows - start);
    const [begin, end] = [start * vocabulary, (start + count) * vocabulary];
    model.set(logits.subarray(begin, end));
    if (other && original) other.set(original.subarray(begin, end));
    const args = [model.byteOffset, other?.byteOffset ?? 0, found.byteOffset, vocabulary];
    pool.run('scoreRows', args, count, Math.max(1, Math.ceil(count / (4 * pool.threads))));
    for (let row = 0; row < count; row++) {
      const [log, top, otherLog, otherTop, divergence] = found.subarray(row * scoresOfRow, (row + 1) * scoresOfRow);
      scores.logs[start + row] = log;
      scores.tops[start + row] = top;
      if (!compared) continue;
      compared.logs[start + row] = otherLog;
      compared.tops[start + row] = otherTop;
      compared.divergences[start + row] = divergence;
    }
  }
  return { ...scores, ...(compared ? { original: compared } : {}) };
}
