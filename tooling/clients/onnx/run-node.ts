/**
 * Runs the folders of make.ts with onnxruntime-node, token by token with the cache and in a batch padded on the left,
 * and with transformers.js. `run-node.ts WORK MODULES REPORT`.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { divergence, largestShare } from './compare-values.js';
import type { ClientCase } from './make.js';
import { loadOnnxruntime, type Session } from './onnxruntime.js';

const [work, modules, report] = process.argv.slice(2) as [string, string, string];
const { cases } = JSON.parse(await readFile(join(work, 'cases.json'), 'utf8')) as { cases: ClientCase[] };
const load = (path: string) => import(pathToFileURL(join(modules, path)).href);

const { open, emptyPast, decode, encode } = await loadOnnxruntime(modules);
const { AutoModelForCausalLM, AutoTokenizer, env } = await load('@huggingface/transformers/dist/transformers.node.mjs');
env.allowRemoteModels = false;
env.localModelPath = '/';

const result = { passed: 0, failed: 0, skipped: 0 };
function check(good: boolean, words: string): void {
  if (good) result.passed++;
  else result.failed++;
  console.log(`${good ? 'ok  ' : 'FAIL'} ${words}`);
}

const ones = (count: number): number[] => new Array(count).fill(1);

for (const {
  name,
  folder,
  file,
  dtype,
  ids,
  output,
  encoder,
  values,
  kept,
  width,
  tolerance,
  nats = 1e-3,
  text,
} of cases) {
  const bytes = await readFile(join(work, values));
  const reference = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  let session: Session;
  try {
    session = await open(join(folder, file));
  } catch (error) {
    check(false, `${name}: does not load: ${(error as Error).message}`);
    continue;
  }
  try {
    const length = ids[0].length;
    const pick = (all: Float32Array): Float32Array => {
      if (!kept) return all;
      const rows = ids.flatMap((_, row) => kept.map((at) => (row * length + at) * width));
      return Float32Array.from(rows.flatMap((at) => [...all.subarray(at, at + width)]));
    };
    const judge = (what: string, actual: Float32Array, wanted = reference) => {
      if (actual.length !== wanted.length)
        return check(false, `${name}, ${what}: ${actual.length} logits, not ${wanted.length}`);
      const [off, kl] = [largestShare(wanted, actual), divergence(wanted, actual, width)];
      const good = tolerance === undefined ? kl < nats : off < tolerance;
      check(good, `${name}, ${what}: ${off.toExponential(1)} of the largest logit, ${kl.toExponential(1)} nats`);
    };
    const mask = ids.map(() => ones(length));
    if (encoder) {
      const run = async (rows: readonly (readonly number[])[], seen: readonly (readonly number[])[]) => {
        const found = await encode(session, rows, seen);
        return found[output].data as Float32Array;
      };
      judge('whole', await run(ids, mask));
      // Padding on the right changes nothing before it.
      const [padded, seen] = [ids.map((row) => [...row, 3, 3]), mask.map((row) => [...row, 0, 0])];
      const own = await run(padded, seen);
      const each = own.length / ids.length;
      const wanted = reference.length / ids.length;
      judge('padded', Float32Array.from(ids.flatMap((_, row) => [...own.subarray(row * each, row * each + wanted)])));
      continue;
    }
    judge('whole', pick((await decode(session, ids, mask, emptyPast(session, ids.length))).logits));
    // Token by token after a prompt of half the length.
    let { logits: own, past } = await decode(
      session,
      ids.map((row) => row.slice(0, length >> 1)),
      ids.map(() => ones(length >> 1)),
      emptyPast(session, ids.length),
    );
    const parts = [own];
    for (let at = length >> 1; at < length; at++) {
      ({ logits: own, past } = await decode(
        session,
        ids.map((row) => [row[at]]),
        ids.map(() => ones(at + 1)),
        past,
      ));
      parts.push(own);
    }
    const stepped = new Float32Array(ids.length * length * width);
    for (let row = 0; row < ids.length; row++) {
      let at = row * length * width;
      for (const part of parts) {
        const size = part.length / ids.length;
        stepped.set(part.subarray(row * size, (row + 1) * size), at);
        at += size;
      }
    }
    judge('token by token', pick(stepped));
    if (!kept) {
      const short = ids[0].slice(0, 5);
      const padded = [...new Array(length - 5).fill(0), ...short];
      const both = await decode(
        session,
        [ids[0], padded],
        [ones(length), [...new Array(length - 5).fill(0), ...ones(5)]],
        emptyPast(session, 2),
      );
      judge('padded on the left', both.logits.slice((2 * length - 5) * width), reference.slice(0, 5 * width));
    }
  } catch (error) {
    check(false, `${name}: does not run: ${(error as Error).message}`);
  } finally {
    await session.release();
  }
  if (!text) continue;
  try {
    const tokenizer = await AutoTokenizer.from_pretrained(folder);
    const model = await AutoModelForCausalLM.from_pretrained(folder, {
      session_options: { logSeverityLevel: 3 },
    });
    const inputs = tokenizer(text.prompt);
    const same = (a: readonly number[], b: readonly number[]) => a.length === b.length && a.every((x, i) => x === b[i]);
    const numbers = (tensor: { data: BigInt64Array }) => [...tensor.data].map(Number);
    check(same(numbers(inputs.input_ids), text.ids), `${name}, transformers.js (${dtype}): same tokens`);
    const made = await model.generate({ ...inputs, max_new_tokens: text.next.length, do_sample: false });
    const next = numbers(made).slice(text.ids.length);
    // Generation ends at the model's end token.
    check(
      next.length > 0 && same(next, text.next.slice(0, next.length)),
      `${name}, transformers.js: same text: ${tokenizer.decode(next.map(BigInt))}`,
    );
    await model.dispose();
  } catch (error) {
    check(false, `${name}, transformers.js: ${(error as Error).message}`);
  }
}
console.log(`${result.passed} passed, ${result.failed} failed`);
await writeFile(report, `${JSON.stringify(result)}\n`);
process.exit(result.failed > 0 ? 1 : 0);
