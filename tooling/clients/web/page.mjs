/** Runs each file with onnxruntime-web on wasm, and posts logits or the error. */

import * as ort from '/ort/ort.wasm.min.mjs';
import { feedsOf } from './feeds.mjs';

ort.env.wasm.wasmPaths = '/ort/';
ort.env.wasm.numThreads = 1;
const { ids, names } = await (await fetch('/settings.json')).json();
for (const name of names) {
  let found;
  try {
    const session = await ort.InferenceSession.create(`/${name}.onnx`, { executionProviders: ['wasm'] });
    const { logits } = await session.run(feedsOf(ort, session, ids));
    found = [...logits.data];
    await session.release();
  } catch (error) {
    found = String(error);
  }
  await fetch(`/found/${name}`, { method: 'POST', body: JSON.stringify(found) });
}
await fetch('/done', { method: 'POST' });
