/**
 * `make.ts OUT [PATTERN]` writes quantized folders of every kind (or those whose name matches), each with the logits of
 * our own forward pass on the written weights.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { awq } from '@q/awq';
import { cutWindows, splitDocuments, tokenStream, type Windows } from '@q/calib';
import { awqLayout, gptqLayout, openCheckpoint } from '@q/checkpoint';
import { createContext, minMax, perChannel, perGroup, scheme, signedIntegers, unsignedIntegers } from '@q/core';
import { runWindows } from '@q/eval';
import { gptq } from '@q/gptq';
import { createWasmKernels } from '@q/kernels-wasm';
import { loadTokenizer } from '@q/models';
import { planRun, runPlan } from '@q/pipeline';
import { rtn } from '@q/rtn';
import { createEngine } from '@q/tfjs';

interface Variant {
  readonly name: string;
  readonly model: string;
  readonly bits: number;
  readonly group: number;
  readonly symmetric: boolean;
  readonly staticGroups?: boolean;
  /** Bits of some linears that differ from the variant's (an override in the config's `dynamic`). */
  readonly others?: { readonly match: RegExp; readonly bits: number };
  /** True: AWQ (scales, clipping, rounding to nearest) in AutoAWQ's layout. Default: GPTQ in its own layout. */
  readonly awq?: boolean;
}

const [out, pattern = ''] = process.argv.slice(2);
const demo = fileURLToPath(new URL('../../../packages/cli/demo/model', import.meta.url));
const shared = process.env.QUANT_SHARED;
const text = await readFile(new URL('../../../packages/cli/demo/text/calibration.txt', import.meta.url), 'utf8');

const variants: Variant[] = [
  { name: 'demo-4-sym', model: demo, bits: 4, group: 32, symmetric: true },
  { name: 'demo-4-asym', model: demo, bits: 4, group: 32, symmetric: false },
  { name: 'demo-2-asym', model: demo, bits: 2, group: 32, symmetric: false },
  { name: 'demo-3-asym', model: demo, bits: 3, group: 32, symmetric: false },
  { name: 'demo-8-sym', model: demo, bits: 8, group: -1, symmetric: true },
  { name: 'demo-4-reordered', model: demo, bits: 4, group: 32, symmetric: true, staticGroups: false },
  {
    name: 'demo-4-mixed',
    model: demo,
    bits: 4,
    group: 32,
    symmetric: true,
    others: { match: /layers\.[02]\.mlp\./, bits: 8 },
  },
  { name: 'demo-awq', model: demo, bits: 4, group: 32, symmetric: false, awq: true },
  { name: 'demo-awq-sym', model: demo, bits: 4, group: 32, symmetric: true, awq: true },
  ...(shared
    ? [
        // 688 inputs are not a whole number of groups of 128, which this layout needs.
        {
          name: 'llama-5m-awq',
          model: join(shared, 'models/llama-5m'),
          bits: 4,
          group: -1,
          symmetric: false,
          awq: true,
        },
        { name: 'opt-3m-awq', model: join(shared, 'models/opt-3m'), bits: 4, group: 64, symmetric: false, awq: true },
        { name: 'llama-5m-4-sym', model: join(shared, 'models/llama-5m'), bits: 4, group: 128, symmetric: true },
        { name: 'llama-5m-4-asym', model: join(shared, 'models/llama-5m'), bits: 4, group: -1, symmetric: false },
        {
          name: 'llama-5m-4-reordered',
          model: join(shared, 'models/llama-5m'),
          bits: 4,
          group: 128,
          symmetric: true,
          staticGroups: false,
        },
        { name: 'llama-5m-2-asym', model: join(shared, 'models/llama-5m'), bits: 2, group: 128, symmetric: false },
        { name: 'llama-5m-8-sym', model: join(shared, 'models/llama-5m'), bits: 8, group: 128, symmetric: true },
        { name: 'gpt2-3m-4-sym', model: join(shared, 'models/gpt2-3m'), bits: 4, group: 64, symmetric: true },
        { name: 'opt-3m-4-sym', model: join(shared, 'models/opt-3m'), bits: 4, group: 64, symmetric: true },
      ]
    : []),
];

const kernels = await createWasmKernels();
const context = createContext({ kernels });
for (const { name, model, bits, group, symmetric, staticGroups, others, awq: scaled } of variants.filter((variant) =>
  new RegExp(pattern).test(variant.name),
)) {
  const layout = scaled ? awqLayout() : gptqLayout();
  const json = async (file: string) => JSON.parse(await readFile(join(model, file), 'utf8'));
  const tokenizer = loadTokenizer({
    tokenizer: await json('tokenizer.json'),
    config: await json('tokenizer_config.json'),
    model: await json('config.json'),
  });
  const calibration: Windows = cutWindows(tokenStream(splitDocuments(text), tokenizer), 128, { count: 16 });
  const source = await openCheckpoint(model, [layout]);
  const rule = (match: RegExp, width: number) => ({
    match,
    quantizer: scaled ? rtn({ fit: minMax() }) : gptq({ staticGroups }),
    scheme: scheme({
      format: (symmetric ? signedIntegers : unsignedIntegers)[width - 2],
      granularity: group === -1 ? perChannel : perGroup(group),
      zeroPoint: symmetric ? 'none' : 'integer',
    }),
  });
  const rules = [...(others ? [rule(others.match, others.bits)] : []), rule(/^(?!lm_head$)/, bits)];
  const plan = planRun(source, { layout, transforms: scaled ? [awq()] : [], rules, seed: 0 });
  await runPlan(plan, { out: join(out, name), context, calibration, engine: () => createEngine({ kernels }) });
  const written = await openCheckpoint(join(out, name), [layout]);
  if (!written.model) throw new Error(`${model}: unknown architecture`);
  const engine = await createEngine({ kernels });
  const window = { ids: calibration.ids.slice(0, 64), count: 1, length: 64 };
  const logits = await (await runWindows(written.model, engine, (tensor) => written.weight(tensor), window)).logits(
    0,
    1,
  );
  await writeFile(join(out, name, 'ids.json'), JSON.stringify([...window.ids]));
  await writeFile(join(out, name, 'logits.f32'), new Uint8Array(logits.buffer, logits.byteOffset, logits.byteLength));
  await engine.dispose();
  await source.close();
  await written.close();
  console.log(`wrote ${name}`);
}
await kernels.dispose();
