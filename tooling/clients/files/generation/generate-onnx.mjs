/**
 * Generates greedy text with transformers.js and onnxruntime-node on two threads: `generate-onnx.mjs MODULES FOLDER
 * PROMPT TOKENS`.
 */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [modules, folder, prompt, count] = process.argv.slice(2);
const { AutoModelForCausalLM, AutoTokenizer, env } = await import(
  pathToFileURL(join(modules, '@huggingface/transformers/dist/transformers.node.mjs')).href
);
env.allowRemoteModels = false;
env.localModelPath = '/';
const tokenizer = await AutoTokenizer.from_pretrained(folder);
const model = await AutoModelForCausalLM.from_pretrained(folder, {
  dtype: 'q4',
  session_options: { logSeverityLevel: 3, intraOpNumThreads: 2 },
});
const times = [];
const streamer = { put: () => times.push(performance.now()), end() {} };
const inputs = tokenizer(prompt);
const made = await model.generate({ ...inputs, max_new_tokens: Number(count), do_sample: false, streamer });
const ids = [...made.data].map(Number).slice(inputs.input_ids.dims[1]);
// The streamer gets the prompt first.
const [, first] = times;
const peakBytes = 1024 * process.resourceUsage().maxRSS;
console.log(JSON.stringify({ ids, tokensPerSecond: (1000 * (times.length - 2)) / (times.at(-1) - first), peakBytes }));
process.exit(0);
