/** Writes logits of a provider of onnxruntime-node, f32: `logits.mjs MODULES FILE PROVIDER IDS OUT`. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { feedsOf } from './feeds.mjs';

const [modules, file, provider, ids, out] = process.argv.slice(2);
const { default: ort } = await import(pathToFileURL(join(modules, 'onnxruntime-node/dist/index.js')).href);
const session = await ort.InferenceSession.create(file, { logSeverityLevel: 3, executionProviders: [provider] });
const { logits } = await session.run(feedsOf(ort, session, JSON.parse(ids)));
await writeFile(out, new Uint8Array(Float32Array.from(logits.data).buffer));
process.exit(0);
