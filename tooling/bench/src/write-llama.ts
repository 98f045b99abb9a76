/**
 * `pnpm bench:model FOLDER [SEED]` writes the model and the tokens of `pnpm bench llama`, for a profiler or another
 * tool.
 */
import { join } from 'node:path';
import { writeSyntheticLlama } from './synthetic-llama.js';

const [folder, seed = '1'] = process.argv.slice(2);
if (!folder || !/^\d+$/.test(seed)) {
  console.error('Usage: pnpm bench:model FOLDER [SEED]');
  process.exit(1);
}
await writeSyntheticLlama(folder, Number(seed));
console.log(`Model: ${folder}\nCalibration: ${join(folder, 'calib-128x256.u16')}`);
