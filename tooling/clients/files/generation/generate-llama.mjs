/** Generates greedy text with node-llama-cpp on two threads: `generate-llama.mjs MODULE FILE PROMPT TOKENS`. */
import { pathToFileURL } from 'node:url';

const [module, file, prompt, count] = process.argv.slice(2);
const { getLlama, LlamaLogLevel } = await import(pathToFileURL(module).href);
const llama = await getLlama({ build: 'never', gpu: false, logLevel: LlamaLogLevel.error });
const model = await llama.loadModel({ modelPath: file });
const context = await model.createContext({ contextSize: 512, threads: 2 });
const ids = [];
let [first, last] = [0, 0];
for await (const id of context.getSequence().evaluate(model.tokenize(prompt), { temperature: 0 })) {
  last = performance.now();
  if (ids.length === 0) first = last;
  ids.push(id);
  if (ids.length === Number(count)) break;
}
const peakBytes = 1024 * process.resourceUsage().maxRSS;
console.log(JSON.stringify({ ids, tokensPerSecond: (1000 * (ids.length - 1)) / (last - first), peakBytes }));
process.exit(0);
