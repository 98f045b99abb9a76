import { join } from 'node:path';
import { gptqLayout, openCheckpoint } from '@q/checkpoint';
import { createContext, int4, perGroup, scheme } from '@q/core';
import { rtn } from '@q/rtn';
import { openShards } from '@q/safetensors';
import { expect, it } from 'vitest';
import { planRun } from '../plan/plan.js';
import { writeSmallLlama } from '../testing/small-llama.js';
import { workbench } from '../testing/workbench.js';
import { runKeeping } from './run-keeping.js';

const at = workbench();
const layout = gptqLayout();

/**
 * Rounds a Llama in which one matrix is multiplied by `factor`; returns what was kept, and what the written folder
 * holds.
 */
async function keep(odd: string, factor: number) {
  const [model, out] = [join(at.folder, 'model'), join(at.folder, 'out')];
  await writeSmallLlama(model, (name, values) => (name.endsWith(odd) ? values.map((x) => x * factor) : values));
  const checkpoint = await openCheckpoint(model, [layout]);
  const said: string[] = [];
  try {
    const rule = { match: '*', quantizer: rtn(), scheme: scheme({ format: int4, granularity: perGroup(8) }) };
    const plan = planRun(checkpoint, { layout, rules: [rule], seed: 0 });
    const { layers } = await runKeeping(plan, {
      ...{ out, context: createContext({ kernels: at.kernels }) },
      kept: (text) => void said.push(text),
    });
    const written = await openShards(out);
    const names = [...written.entries.keys()];
    const same = async (name: string) =>
      Buffer.compare(
        Buffer.from((await written.read(name)).data.buffer.slice(0)),
        Buffer.from((await checkpoint.weight(name)).data.buffer.slice(0)),
      ) === 0;
    const values = await same(`model.layers.0.${odd}.weight`);
    await written.close();
    return { said, names, values, layers: layers.map(({ module }) => module) };
  } finally {
    await checkpoint.close();
  }
}

it.each([
  ['1e-9, whose scales are below the least f16', 1e-9],
  ['1e9, whose scales are above the largest', 1e9],
])('keeps a matrix times %s, and says so', async (_name, factor) => {
  const { said, names, values, layers } = await keep('mlp.down_proj', factor);
  expect(said).toHaveLength(1);
  expect(said[0]).toMatch(/^model\.layers\.0\.mlp\.down_proj: its scales .*It is kept as it is$/);
  expect(values).toBe(true);
  expect(names).not.toContain('model.layers.0.mlp.down_proj.qweight');
  expect(layers).toHaveLength(6);
});

it('keeps what runtimes fuse with it as well', async () => {
  const { said, layers } = await keep('self_attn.k_proj', 1e-9);
  expect(said[0]).toContain('q_proj, model.layers.0.self_attn.k_proj, model.layers.0.self_attn.v_proj are kept');
  expect(layers).toEqual(['o_proj', 'gate_proj', 'up_proj', 'down_proj'].map((name) => expect.stringContaining(name)));
});
