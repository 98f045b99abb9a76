import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Windows } from '@q/calib';
import { gptqLayout, openCheckpoint } from '@q/checkpoint';
import {
  createContext,
  createRandom,
  edgeChannels,
  foldEdge,
  hessian,
  inputShift,
  int4,
  int8,
  linearsOf,
  type ModelStep,
  meanAbs,
  perGroup,
  type Quantizer,
  type Rewrite,
  scaleColumns,
  scheme,
  type Transform,
  tensor,
} from '@q/core';
import { rtn } from '@q/rtn';
import { createEngine } from '@q/tfjs';
import { beforeAll, describe, expect, it } from 'vitest';
import { planRun } from '../plan/plan.js';
import type { Rule } from '../recipe/recipe.js';
import { runPlan } from '../run/run.js';
import { demoModel, demoWindows } from '../testing/demo-model.js';
import { firstLogits, relativeError } from '../testing/first-logits.js';
import { workbench } from '../testing/workbench.js';

const layout = gptqLayout();
const target = scheme({ format: int4, granularity: perGroup(32) });
const all = /layers/;
/** Round to nearest that also looks at the unquantized model, and says what it saw. */
function paired(): Quantizer {
  return {
    ...rtn(),
    needs: [hessian, inputShift],
    async quantize(weight, statistics, scheme, context) {
      const { quantized, report } = await rtn().quantize(weight, statistics, scheme, context);
      const [own, shift] = [statistics.get(hessian), statistics.get(inputShift)];
      const cross = own.sum.map((value, i) => value + shift.sum[i]);
      const figures = { own: own.sum[0], cross: cross[0], norm: norm(own.sum), crossNorm: norm(cross) };
      return { quantized, report: { ...report, tokens: own.count, figures } };
    },
  };
}

const norm = (values: ArrayLike<number>) => Math.sqrt(Array.from(values).reduce((sum, x) => sum + x * x, 0));

/** Random positive scales on every edge. */
function scaling(name: string, spread = 1): Transform {
  return {
    name,
    options: { spread },
    needs: [meanAbs],
    edges: (edges) => edges,
    async apply({ edges, weights, statistics }) {
      const current = new Map(weights);
      const inputScales = new Map<string, Float32Array>();
      for (const edge of edges) {
        const width = current.get(`${edge.consumers[0]}.weight`)!.shape[1];
        expect(statistics(edge.consumers[0]).get(meanAbs)).toMatchObject({ width, count: 2 * 32 });
        const random = createRandom(name).fork(edge.id);
        const shared = Float32Array.from({ length: width }, () => Math.exp(spread * random.normal()));
        const scales = Float32Array.from(edgeChannels(edge, width), (channel) => shared[channel]);
        const folded = foldEdge(edge, scales, current);
        for (const [tensorName, values] of folded.weights) current.set(tensorName, values);
        for (const [module, factors] of folded.inputScales) inputScales.set(module, factors);
      }
      const changed = [...current].filter(([tensorName, values]) => weights.get(tensorName) !== values);
      return { weights: new Map(changed), inputScales, figures: { edges: edges.length }, notes: [] };
    },
  };
}

/** Folds every norm's gain into what reads it: the head needs a tensor of its own for that. */
const foldNorms: Rewrite = {
  name: 'fold-norms',
  options: {},
  apply(model, source) {
    const gains = new Map<string, string>([['lm_head.weight', 'model.norm.weight']]);
    for (const { producer, consumers } of model.blocks.flatMap(({ edges }) => edges))
      if (producer.kind === 'norm')
        for (const consumer of consumers) gains.set(`${consumer}.weight`, `${producer.module}.weight`);
    const ones = new Set(gains.values());
    const linears = linearsOf(model);
    return {
      config: { tie_word_embeddings: false },
      changed: new Map<string, readonly number[]>([
        ...[...ones].map((name) => [name, [model.hiddenSize]] as const),
        ...linears
          .filter(({ module }) => gains.has(`${module}.weight`))
          .map(({ module, outFeatures, inFeatures }) => [`${module}.weight`, [outFeatures, inFeatures]] as const),
      ]),
      async weight(name) {
        const values = await source.weight(name);
        if (ones.has(name)) return tensor('f32', values.shape, new Float32Array(values.data.length).fill(1));
        return scaleColumns(values, (await source.weight(gains.get(name) as string)).data);
      },
    };
  },
};

const at = workbench();
let calibration: Windows;
beforeAll(async () => {
  calibration = await demoWindows(32, 2);
});

async function plan(transforms: readonly ModelStep[], rules: readonly Rule[]) {
  const source = await openCheckpoint(demoModel, [layout]);
  await source.close();
  return planRun(source, { layout, transforms, rules, seed: 0 });
}

async function run(transforms: readonly ModelStep[], rules: readonly Rule[], name: string, signal?: AbortSignal) {
  const source = await openCheckpoint(demoModel, [layout]);
  try {
    const out = join(at.folder, name);
    const result = await runPlan(planRun(source, { layout, transforms, rules, seed: 0 }), {
      out,
      context: createContext({ kernels: at.kernels, signal }),
      calibration,
      engine: () => createEngine({ kernels: at.kernels }),
    });
    return { out, result };
  } finally {
    await source.close();
  }
}

const logits = (path: string) => firstLogits(path, calibration, at.kernels, [layout]);

describe('transforms and rewrites', () => {
  it('write another model of the same function when nothing is quantized', async () => {
    const { out, result } = await run([foldNorms, scaling('a'), scaling('b')], [{ match: '*', keep: true }], 'kept');
    const config = JSON.parse(await readFile(join(out, 'config.json'), 'utf8'));
    expect(config.tie_word_embeddings).toBe(false);
    expect(config.quantization_config).toBeUndefined();
    expect(result.transforms.map(({ block, transform }) => `${block} ${transform}`).slice(0, 3)).toEqual([
      'model.layers.0 a',
      'model.layers.0 b',
      'model.layers.1 a',
    ]);
    expect(relativeError(await logits(out), await logits(demoModel))).toBeLessThan(1e-5);
  });

  it('rewrites reach data-free methods, whose rows they are quantized in', async () => {
    const { out } = await run([foldNorms], [{ match: /^(?!lm_head)/, quantizer: rtn(), scheme: target }], 'rtn');
    const plain = await run([], [{ match: /^(?!lm_head)/, quantizer: rtn(), scheme: target }], 'plain');
    const written = await openCheckpoint(out, [layout]);
    expect([...(await written.weight('model.norm.weight')).data].every((gain) => gain === 1)).toBe(true);
    const error = relativeError(await logits(out), await logits(plain.out));
    expect(error).toBeGreaterThan(1e-3);
    expect(error).toBeLessThan(0.3);
    await written.close();
  });

  it('the plan says what changes and how it is written', async () => {
    const { rows, calibrated } = await plan(
      [foldNorms, scaling('a')],
      [{ match: all, quantizer: rtn(), scheme: target }],
    );
    const row = (name: string) => rows.find((each) => each.name === name);
    expect(calibrated).toBe(true);
    expect(row('model.layers.0.input_layernorm.weight')).toMatchObject({
      action: 'rewrite',
      why: 'rewritten by fold-norms, scaled by a',
    });
    expect(row('model.layers.0.mlp.down_proj.weight')?.why).toMatch(/; scaled by a$/);
    expect(row('lm_head.weight')).toMatchObject({ action: 'rewrite', bytesBefore: 0, dtype: 'F32' });
    expect(row('model.embed_tokens.weight')?.action).toBe('copy');
  });

  it.each([
    ['twice', [scaling('a'), scaling('a')], 'a comes twice'],
    ['a rewrite behind a transform', [scaling('a'), foldNorms], 'Put fold-norms first'],
    [
      'what a transform itself refuses',
      [
        { ...scaling('a'), refuse: (_before: unknown, after: readonly ModelStep[]) => after.map((s) => s.name).join() },
        scaling('b'),
      ],
      'a: b',
    ],
    [
      'what a rewrite refuses',
      [{ ...foldNorms, refuse: () => 'its head cannot be untied' }],
      'fold-norms: its head cannot be untied',
    ],
    [
      'a rewrite that the runtime would have to help',
      [{ ...foldNorms, online: 'a turn before the head' }],
      'fold-norms: the model would need a turn before the head as it runs, which runtimes that read the gptq layout do not',
    ],
  ])('refuses %s', async (_what, transforms, message) => {
    await expect(plan(transforms, [{ match: all, quantizer: rtn(), scheme: target }])).rejects.toThrow(message);
  });

  it('go on after an interrupt and give the same bytes, also for methods that compare with the unquantized model', async () => {
    const steps = [foldNorms, scaling('a'), scaling('b')];
    const rules = (quantizer: Quantizer): Rule[] => [{ match: all, quantizer, scheme: target }];
    const whole = await run(steps, rules(paired()), 'whole');
    const controller = new AbortController();
    let calls = 0;
    const interrupted: Quantizer = {
      ...paired(),
      async quantize(...args) {
        if (++calls === 17) controller.abort();
        return paired().quantize(...args);
      },
    };
    await expect(run(steps, rules(interrupted), 'parts', controller.signal)).rejects.toThrow();
    const { result } = await run(steps, rules(paired()), 'parts');
    expect(result.resumed).toBe(true);
    expect(result.transforms).toEqual(whole.result.transforms);
    // The unquantized model, too, stands where it would have stood.
    expect(result.layers).toEqual(whole.result.layers);
    for (const name of await readdir(whole.out))
      expect(await readFile(join(at.folder, 'parts', name)), name).toEqual(await readFile(join(whole.out, name)));
    await expect(run([foldNorms, scaling('a', 2)], rules(paired()), 'parts')).rejects.toThrow('is not empty');
  });

  it('the unquantized model is compared in the scaled channels', async () => {
    const eight = scheme({ format: int8, granularity: perGroup(16) });
    const { result } = await run([scaling('a')], [{ match: all, quantizer: paired(), scheme: eight }], 'scaled');
    for (const { module, figures } of result.layers) {
      expect(figures.crossNorm / figures.norm, module).toBeCloseTo(1, 1);
      if (/layers\.0.*[qkv]_proj/.test(module)) expect(figures.cross / figures.own).toBeCloseTo(1, 5);
    }
  });

  it('measure a change of weights by what it does to the residual stream behind the module', async () => {
    const seen: number[] = [];
    const probing: Transform = {
      ...scaling('probing'),
      async apply({ weights, evaluate }) {
        const measure = evaluate as NonNullable<typeof evaluate>;
        const prefix = [...weights.keys()][0].match(/^model\.layers\.\d+/)?.[0];
        const [q, norm] = [`${prefix}.self_attn.q_proj`, `${prefix}.post_attention_layernorm.weight`];
        const [gate, up] = [`${prefix}.mlp.gate_proj`, `${prefix}.mlp.up_proj`];
        const changed = (name: string, factor: number) =>
          [
            name,
            tensor(
              'f32',
              weights.get(name)!.shape,
              weights.get(name)!.data.map((x) => x * factor),
            ),
          ] as const;
        seen.push(await measure(new Map(), [q]), await measure(new Map([changed(`${q}.weight`, 1.1)]), [q]));
        // Twice the gain of a norm is undone by halves of the linears that read it.
        seen.push(
          await measure(new Map([changed(norm, 2), changed(`${gate}.weight`, 0.5), changed(`${up}.weight`, 0.5)]), [
            gate,
            up,
          ]),
          await measure(new Map([changed(norm, 2)]), [gate, up]),
          await measure(new Map([changed(`${prefix}.mlp.down_proj.weight`, 0)]), [`${prefix}.mlp.down_proj`]),
          await measure(new Map([changed(`${prefix}.mlp.down_proj.weight`, 2)]), [`${prefix}.mlp.down_proj`]),
        );
        return { weights: new Map(), inputScales: new Map(), figures: {}, notes: [] };
      },
    };
    await run([probing], [{ match: all, quantizer: rtn(), scheme: target }], 'probe');
    for (let block = 0; block < 4; block++) {
      const [same, q, undone, norm, none, twice] = seen.slice(6 * block);
      expect(same).toBe(0);
      expect(q).toBeGreaterThan(0);
      expect(undone).toBeLessThan(1e-6 * norm);
      expect(none / twice).toBeCloseTo(1, 4);
    }
  });
});
