/** Reads the folder that the Python package wrote, and writes both sides' results to one report. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openShards } from '@q/safetensors';

const [work, reportFile] = process.argv.slice(2);
const json = async (name: string) => JSON.parse(await readFile(join(work, name), 'utf8'));
const result: { passed: number; failed: number } = await json('result.json');
const expected: Record<string, { shape: number[]; values: number[] }> = await json('theirs.json');
const shards = await openShards(join(work, 'theirs'));
const half = (bits: number) => {
  const [sign, exponent, mantissa] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  return sign * (exponent === 0 ? mantissa * 2 ** -24 : (1024 + mantissa) * 2 ** (exponent - 25));
};
for (const [name, { shape, values }] of Object.entries(expected)) {
  const tensor = await shards.read(name);
  const found = Array.from(tensor.data as ArrayLike<number | bigint>, (x) =>
    tensor.dtype === 'f16' ? half(x as number) : Number(x),
  );
  const good = `${tensor.shape}` === `${shape}` && found.every((x, i) => x === values[i]);
  if (!good)
    console.log(`FAIL ${name}: [${tensor.shape}] ${found.slice(0, 4)} instead of [${shape}] ${values.slice(0, 4)}`);
  if (good) result.passed++;
  else result.failed++;
}
await shards.close();
console.log(`safetensors: ${result.passed} ok, ${result.failed} failed`);
await writeFile(reportFile, JSON.stringify({ ...result, skipped: 0 }));
process.exitCode = result.failed > 0 ? 1 : 0;
