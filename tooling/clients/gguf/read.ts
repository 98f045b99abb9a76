/** Reads the file that the Python package wrote, and writes the results of all sides to one report. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readGgufHeader, readGgufTensor } from '@q/gguf';
import { openFile } from '@q/safetensors';

const [work, reportFile] = process.argv.slice(2);
const json = async (name: string) => JSON.parse(await readFile(join(work, name), 'utf8'));
const results: readonly { passed: number; failed: number; skipped?: number }[] = [
  await json('result.json'),
  await json('llama.json'),
];
const total = { passed: 0, failed: 0, skipped: 0 };
for (const { passed, failed, skipped = 0 } of results) {
  total.passed += passed;
  total.failed += failed;
  total.skipped += skipped;
}
const check = (good: boolean, words: string) => {
  if (good) total.passed++;
  else {
    total.failed++;
    console.log(`FAIL ${words}`);
  }
};
const source = await openFile(join(work, 'theirs.gguf'));
const { metadata, tensors } = await readGgufHeader(source);
check(metadata.get('their.count')?.value === 7, 'their.count');
check(metadata.get('their.share')?.value === 0.1, 'their.share');
check(metadata.get('their.deep')?.value === -5n, 'their.deep');
check(`${metadata.get('their.words')?.value}` === 'a,ü', 'their.words');
const expected: Record<string, { type: string; shape: number[]; values: number[] }> = await json('theirs.json');
check(tensors.size === Object.keys(expected).length, `${tensors.size} tensors`);
for (const [name, { type, shape, values }] of Object.entries(expected)) {
  const tensor = tensors.get(name);
  const good = tensor?.type.name === type && `${tensor.shape}` === `${shape}`;
  check(good, `${name}: ${tensor?.type.name} [${tensor?.shape}]`);
  if (!tensor) continue;
  const found = await readGgufTensor(source, tensor);
  check(
    found.every((x, i) => x === values[i]),
    `${name}: other values`,
  );
}
await source.close();
console.log(`gguf: ${total.passed} ok, ${total.failed} failed`);
await writeFile(reportFile, JSON.stringify(total));
process.exitCode = total.failed > 0 ? 1 : 0;
