/** Writes folders of shards with every dtype, and damaged headers with our reader's answer to each. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createRandom, elementCount } from '@q/core';
import {
  createShardWriter,
  type FileDtype,
  fileDtypes,
  fromBytes,
  type PlannedTensor,
  planShards,
  readHeader,
} from '@q/safetensors';

const out = process.argv[2];
const random = createRandom(7);
const shapes: readonly (readonly number[])[] = [[], [0], [8], [3, 8], [2, 0, 5], [2, 3, 4]];

// The Python package knows these dtypes by name. The sub-byte ones are read as raw bytes.
const tensors: PlannedTensor[] = (Object.keys(fileDtypes) as FileDtype[]).flatMap((dtype) =>
  shapes
    .map((shape, i) => ({ name: `${dtype.toLowerCase()}.${i}`, dtype, shape }))
    .filter(({ shape }) => (elementCount(shape) * fileDtypes[dtype]) % 8 === 0),
);

for (const [folder, maxShardBytes] of [
  ['whole', undefined],
  ['shards', 300],
] as const) {
  await mkdir(join(out, folder), { recursive: true });
  const plan = planShards(tensors, { maxShardBytes, metadata: { format: 'pt', note: 'ünï "quoted"\n' } });
  const writer = await createShardWriter(join(out, folder), plan);
  const expected: Record<string, { dtype: string; shape: readonly number[]; hex: string }> = {};
  for (const { name, dtype, shape } of tensors) {
    const bytes = Uint8Array.from({ length: (elementCount(shape) * fileDtypes[dtype]) / 8 }, () =>
      dtype === 'BOOL' ? Math.floor(random.uniform() * 2) : Math.floor(random.uniform() * 256),
    );
    await writer.writeBytes(name, bytes);
    expected[name] = { dtype, shape, hex: Buffer.from(bytes).toString('hex') };
  }
  await writer.finish();
  await writeFile(join(out, `${folder}.json`), JSON.stringify(expected));
}

const header = JSON.stringify({
  __metadata__: { format: 'pt' },
  a: { dtype: 'F32', shape: [2, 3], data_offsets: [0, 24] },
  b: { dtype: 'I8', shape: [4], data_offsets: [24, 28] },
});
const alphabet = '0123456789-+.eE"{}[]:, aFI8\\u\t\u0001é';
const verdicts: { hex: string; rejected: string | null }[] = [];
for (let i = 0; i < 2000; i++) {
  const characters = [...header];
  for (let changes = 1 + Math.floor(random.uniform() * 2); changes > 0; changes--) {
    const place = Math.floor(random.uniform() * characters.length);
    const character = alphabet[Math.floor(random.uniform() * alphabet.length)];
    const kind = Math.floor(random.uniform() * 3);
    characters.splice(place, kind === 0 ? 0 : 1, ...(kind === 2 ? [] : [character]));
  }
  const text = new TextEncoder().encode(characters.join(''));
  const file = new Uint8Array(8 + text.length + 28);
  new DataView(file.buffer).setBigUint64(0, BigInt(text.length), true);
  file.set(text, 8);
  const verdict = await readHeader(fromBytes(file)).then(
    () => null,
    (error: Error) => error.message,
  );
  verdicts.push({ hex: Buffer.from(file).toString('hex'), rejected: verdict });
}
await writeFile(join(out, 'verdicts.json'), JSON.stringify(verdicts));
