import { FormatError, languageModel, type ModelDescription, SchemeError } from '@q/core';
import { describe, expect, it } from 'vitest';
import { describeModel } from './describe-model.js';
import { published } from './testing/published-models.js';

const cases = Object.entries(published).map(([name, { config, parameters }]) => ({ name, config, parameters }));

describe('describeModel', () => {
  it.each(cases)('counts the parameters of $name', ({ config, parameters }) => {
    const { expected } = describeModel(config);
    const sizes = [...expected.values()].map((shape) => shape.reduce((product, size) => product * size, 1));
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(parameters);
  });

  // Eighteen thousand linears take long to compare with each other: that one is counted alone.
  it.each(cases.filter(({ name }) => name !== 'Qwen3-30B-A3B'))(
    'declares $name without contradiction',
    ({ config }) => {
      const model = describeModel(config);
      checkTensors(model);
      for (const block of model.blocks) checkBlock(block, model);
      checkResidualStream(model);
    },
  );

  it.each([
    ['Llama-2-7b', 'norm.weight', 'model.'],
    ['Qwen3-0.6B', 'norm.weight', 'model.'],
    ['pythia-70m', 'final_layer_norm.weight', 'gpt_neox.'],
  ])('knows %s without its head', (name, norm, prefix) => {
    const { config } = published[name]!;
    const [whole, bare] = [describeModel(config), describeModel(config, undefined, new Set([norm]))];
    const inside = [...whole.expected.keys()].filter((key) => key.startsWith(prefix));
    expect([...bare.expected.keys()].map((key) => prefix + key)).toEqual(inside);
    expect(bare.headless).toBe(true);
    // A tied head needs no tensor of its own.
    expect(bare.head === undefined).toBe(config['tie_word_embeddings'] !== true);
    expect(bare.logits === undefined).toBe(bare.head === undefined);
  });

  it('says why a model gives no logits of tokens', () => {
    const llama = published['Llama-2-7b']!.config;
    const pythia = published['pythia-70m']!.config;
    const classes = { architectures: ['LlamaForSequenceClassification'], num_labels: 3 };
    const bert = { ...{ model_type: 'bert', vocab_size: 40 }, architectures: ['BertModel'] };
    const refused = (config: Record<string, unknown>, ...names: string[]) =>
      expect(() => languageModel(describeModel(config, undefined, new Set(names)), 'q generate folder'));
    refused(llama, 'norm.weight').toThrow(
      'q generate folder needs the logits of a language model; this checkpoint of llama has no output head (lm_head.weight)',
    );
    refused(pythia, 'final_layer_norm.weight').toThrow('has no output head (embed_out.weight)');
    refused({ ...llama, ...classes }, 'model.norm.weight').toThrow(
      'this checkpoint of llama is a classifier: score.weight gives the scores of 3 classes',
    );
    refused(bert).toThrow('bert is an encoder');
    refused({ ...bert, architectures: ['BertForTokenClassification'] }).toThrow('classifier.weight gives the scores');
  });

  it('knows decoders that classify sequences', () => {
    const { config } = published['Qwen3-0.6B']!;
    const labels = { id2label: { 0: 'a', 1: 'b', 2: 'c' } };
    const model = describeModel({ ...config, ...labels, architectures: ['Qwen3ForSequenceClassification'] });
    expect(model.head).toBeUndefined();
    expect(model.ties.size).toBe(0);
    expect(model.classifier).toMatchObject({ tensors: ['score.weight'], size: 3 });
    expect(model.expected.get('score.weight')).toEqual([3, 1024]);
  });

  it('describes the blocks of a model of thousands as those of a small one', () => {
    const config = {
      ...{ model_type: 'llama', hidden_size: 8, intermediate_size: 12, num_attention_heads: 2, vocab_size: 10 },
      rms_norm_eps: 1e-5,
    };
    const [many, few] = [1200, 3].map((layers) => describeModel({ ...config, num_hidden_layers: layers })) as [
      ModelDescription,
      ModelDescription,
    ];
    const parts = ({ blocks }: ModelDescription) =>
      blocks
        .slice(0, 3)
        .map(({ index, prefix, linears, tensors, fusionGroups, edges, stages, attention, mlpOutputs }) => ({
          ...{ index, prefix, linears, tensors, fusionGroups, edges, attention, mlpOutputs },
          stages: stages.map(({ name, linears: reading }) => ({ name, reading })),
        }));
    expect(parts(many)).toEqual(parts(few));
    expect(many.blocks[1199]!.linears[0]!.module).toBe('model.layers.1199.self_attn.q_proj');
    expect([...many.expected].slice(0, 28)).toEqual([...few.expected].slice(0, 28));
    expect(many.expected.size).toBe(3 + 9 * 1200);
    checkTensors(many);
    expect(many.residualStream!.norms).toHaveLength(2 * 1200 + 1);
    expect(many.residualStream!.writers.slice(0, 6)).toEqual(few.residualStream!.writers);
  });

  it('says which norms add to the stream, and how gains are stored', () => {
    const { norms, readers } = describeModel(published['gemma-3-270m']!.config).residualStream!;
    expect(norms.every(({ gainOffset }) => gainOffset === 1)).toBe(true);
    expect(norms.filter(({ addsToStream }) => addsToStream)).toHaveLength(36);
    expect(readers).toEqual([]);
    // An error of the stream cannot be corrected in front of a norm.
    const { stages } = describeModel(published['gemma-3-270m']!.config).blocks[0]!;
    expect(stages.some(({ addsToResidual }) => addsToResidual)).toBe(false);
    const olmo = describeModel(published['OLMo-2-0425-1B']!.config);
    expect(olmo.residualStream!.norms.filter(({ addsToStream }) => addsToStream)).toHaveLength(32);
    expect(olmo.residualStream!.readers).toHaveLength(16 * 5);
    expect(olmo.blocks[0]!.edges.map(({ id }) => id)).toEqual(['v->o', 'up->down']);
  });

  it('says where the stream is more than a sum: after a norm, before a head without one, in a file without a head', () => {
    const { config } = published['opt-125m']!;
    const after = describeModel({ ...config, do_layer_norm_before: false });
    expect(after.residualStream!.norms.every(({ writesStream }) => writesStream)).toBe(true);
    expect(after.residualStream!.norms).toHaveLength(24);
    expect(after.residualStream!.readers).toEqual(['lm_head']);
    const bare = describeModel({ ...config, _remove_final_layer_norm: true });
    expect(bare.residualStream!.readers).toEqual(['lm_head']);
    checkResidualStream(bare);
    expect(describeModel(config, undefined, new Set(['decoder.embed_tokens.weight'])).headless).toBe(true);
    expect(describeModel(config).headless).toBeUndefined();
  });

  it.each([
    ['gpt2', 'transformer.wte.weight', 'wte.weight', 'h.11.mlp.c_proj.bias'],
    ['opt-125m', 'model.decoder.embed_tokens.weight', 'decoder.embed_tokens.weight', 'decoder.layers.11.fc2.bias'],
  ])('knows both spellings of %s', (name, newer, older, inner) => {
    const { config } = published[name]!;
    const [usual, old] = [newer, older].map((first) => describeModel(config, undefined, new Set([first])));
    expect([...usual!.expected.keys()]).toEqual([...describeModel(config).expected.keys()]);
    const prefix = newer.slice(0, -older.length);
    expect([...old!.expected.keys()].map((key) => prefix + key)).toEqual([...usual!.expected.keys()]);
    expect(old!.expected.has(inner)).toBe(true);
    checkTensors(old!);
    expect(old!.ties.get('lm_head.weight')).toBe(older);
  });

  it('names the known architectures when it knows none', () => {
    const unknown = () => describeModel({ model_type: 'mamba' });
    expect(unknown).toThrow(SchemeError);
    expect(unknown).toThrow(/"mamba" is unknown: known are llama, mistral, /);
    expect(unknown).toThrow(/need no data \(rtn\) still work/);
    expect(() => describeModel({})).toThrow(/no "model_type"/);
  });

  it.each([
    ['llama', { hidden_size: undefined }, /config.json has no "hidden_size": a number is needed/],
    ['llama', { hidden_size: '2048' }, /"hidden_size" is "2048": a number is needed/],
    ['llama', { num_hidden_layers: 0 }, /"num_hidden_layers" is 0: a positive integer/],
    ['llama', { num_key_value_heads: 5 }, /must divide the 32 attention heads/],
    ['llama', { hidden_act: 'laplace' }, /"hidden_act" is "laplace": known activations are relu, silu/],
    [
      'llama',
      { rope_scaling: { rope_type: 'axial', factor: 4 } },
      /rope_scaling: "rope_type" is "axial": known kinds are/,
    ],
    ['llama', { rope_parameters: { rope_type: 'longrope' } }, /rope_parameters: "short_factor" is absent: 32 numbers/],
    ['llama', { rope_scaling: { type: 'linear' } }, /rope_scaling has no "factor"/],
    ['llama', { partial_rotary_factor: 0.55 }, /0.55 of 64 features a head are 35: an even number/],
    ['gpt2', { add_cross_attention: true }, /cross attention/],
    ['gpt2', { n_head: 7 }, /must divide n_embd 768/],
    ['opt', { word_embed_proj_dim: 512 }, /"word_embed_proj_dim" is 512: embeddings projected/],
    ['opt', { layer_norm_elementwise_affine: false }, /norms without weights/],
  ])('refuses what it cannot compute: %s %j', (type, change, message) => {
    const base = cases.find(({ config }) => config['model_type'] === type)!.config;
    expect(() => describeModel({ ...base, ...change })).toThrow(message);
    expect(() => describeModel({ ...base, ...change })).toThrow(SchemeError);
  });

  it.each([
    ['llama', { head_dim: 63 }, /^config.json: "head_dim" is 63: rotary positions need an even size, not 63$/],
    [
      'llama',
      { head_dim: undefined, hidden_size: 60, num_attention_heads: 4, num_key_value_heads: 2 },
      /"head_dim" is absent: .* not 15$/,
    ],
    ['gpt_neox', { hidden_size: 60, num_attention_heads: 4, rotary_pct: 0.5 }, /even size, not 15/],
    ['modernbert', { hidden_size: 60, num_attention_heads: 4 }, /even size, not 15/],
  ])('says of heads without pairs that the config is invalid: %s %j', (type, change, message) => {
    const base = cases.find(({ config }) => config['model_type'] === type)?.config ?? { model_type: type };
    const describeIt = () => describeModel({ ...base, ...change });
    expect(describeIt).toThrow(message);
    // A SchemeError would let methods that never run the model take it.
    expect(describeIt).toThrow(FormatError);
  });
});

function checkTensors(model: ModelDescription): void {
  const { expected, ties } = model;
  const used = [
    ...model.embeddingTensors,
    ...model.blocks.flatMap((block) => block.tensors),
    ...model.headTensors.filter((name) => !model.embeddingTensors.includes(name)),
  ];
  expect(new Set(used).size).toBe(used.length);
  expect(used.toSorted()).toEqual([...expected.keys()].toSorted());
  for (const [tied, original] of ties) {
    expect(expected.has(tied)).toBe(false);
    expect(expected.has(original)).toBe(true);
  }
  const head = model.head!;
  expect(head.roles).toEqual(['head']);
  const headWeight = `${head.module}.weight`;
  expect(expected.get(ties.get(headWeight) ?? headWeight)).toEqual([head.outFeatures, head.inFeatures]);
}

function checkBlock(block: ModelDescription['blocks'][number], { expected }: ModelDescription): void {
  const linears = new Map(block.linears.map((linear) => [linear.module, linear]));
  // Every linear is read in exactly one stage; those that read the same part are of one width.
  expect(block.stages.flatMap((stage) => stage.linears).toSorted()).toEqual([...linears.keys()].toSorted());
  for (const { linears: sharing, inputs } of block.stages) {
    const widths = new Map<string, number>();
    for (const module of sharing) {
      const part = inputs?.get(module) ?? 'input';
      const { inFeatures } = linears.get(module)!;
      expect(widths.get(part) ?? inFeatures).toBe(inFeatures);
      widths.set(part, inFeatures);
    }
  }
  // Attention and MLP are whole: somebody does each part.
  const roles = new Set(block.linears.flatMap((linear) => linear.roles!));
  expect(roles).toEqual(
    new Set([...['query', 'key', 'value', 'output', 'up', 'down'], ...(roles.has('gate') ? ['gate'] : [])]),
  );
  for (const linear of block.linears) expect(linear.roles!.length).toBeGreaterThan(0);
  for (const group of block.fusionGroups) expect(group.every((module) => linears.has(module))).toBe(true);
  for (const { module, inFeatures, outFeatures, transposed, bias } of block.linears) {
    const shape = transposed ? [inFeatures, outFeatures] : [outFeatures, inFeatures];
    expect(expected.get(`${module}.weight`)).toEqual(shape);
    expect(expected.has(`${module}.bias`)).toBe(bias);
  }
  for (const { producer, consumers, repeat, id } of block.edges) {
    const width = linears.get(consumers[0]!)!.inFeatures;
    const [start, end] = producer.rows ?? [
      0,
      producer.kind === 'linear'
        ? linears.get(producer.module)!.outFeatures
        : expected.get(`${producer.module}.weight`)![0]!,
    ];
    const times = producer.period ? linears.get(producer.module)!.outFeatures / producer.period : 1;
    expect((end - start) * times * (repeat?.times ?? 1), id).toBe(width);
    // A router is no linear of the block: it keeps its precision, but not its scale.
    for (const consumer of consumers) expect(expected.get(`${consumer}.weight`)!).toContain(width);
  }
}

/** Every tensor that has to do with the stream is named once: embeddings, norms, and the two sides of every linear. */
function checkResidualStream({ residualStream, blocks, head, expected, hiddenSize }: ModelDescription): void {
  const { embeddings, norms, readers, writers } = residualStream!;
  const linears = blocks.flatMap((block) => block.linears);
  const reading = [...norms.flatMap(({ consumers }) => consumers), ...readers];
  const inner = blocks.flatMap(({ attention, mlpOutputs }) => [attention!.output, ...mlpOutputs!]);
  // Matrices of blocks that are no linears read it too: routers.
  const known = new Set([...linears, head!].map(({ module }) => module));
  const routers = blocks
    .flatMap(({ tensors }) => tensors)
    .filter((name) => expected.get(name)!.length === 2)
    .map((name) => name.replace(/\.weight$/, ''))
    .filter((module) => !known.has(module));
  expect([...reading, ...inner].toSorted()).toEqual([...known, ...routers].toSorted());
  expect(writers.toSorted()).toEqual(inner.toSorted());
  for (const name of embeddings) expect(expected.get(name)![1]).toBe(hiddenSize);
  const inner1d = new Set(
    blocks.flatMap(({ attention }) => attention!.norms ?? []).flatMap((module) => [`${module}.weight`]),
  );
  const one = (name: string) =>
    expected.get(name)!.length === 1 && !linears.some((l) => name === `${l.module}.bias`) && !inner1d.has(name);
  const vectors = norms.flatMap(({ module, kind }) =>
    (kind === 'rms' ? ['weight'] : ['weight', 'bias']).map((part) => `${module}.${part}`),
  );
  expect(vectors.toSorted()).toEqual([...expected.keys()].filter(one).toSorted());
  for (const { attention } of blocks) {
    const { heads, kvHeads, headDim, value, output } = attention!;
    const of = (module: string) => linears.find((linear) => linear.module === module)!;
    const [start, end] = value.rows ?? [0, of(value.module).outFeatures];
    const times = value.period ? of(value.module).outFeatures / value.period : 1;
    expect((end - start) * times).toBe(kvHeads * headDim);
    expect(of(output).inFeatures).toBe(heads * headDim);
  }
}
