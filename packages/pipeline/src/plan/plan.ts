import { type Checkpoint, type CheckpointPlan, planCheckpoint, type QuantizedModule, sourceBytes } from '@q/checkpoint';
import {
  type ActivationScheme,
  describeActivation,
  describeScheme,
  elementCount,
  FormatError,
  type LinearDescription,
  linearsOf,
  type ModelDescription,
  type Quantizer,
  referenceKernels,
  type Scheme,
  SchemeError,
  type Tuner,
} from '@q/core';
import { guessLinears } from '@q/models';
import { byteLength } from '@q/safetensors';
import { describeRule, matches, type Recipe, rewritesOf, transformsOf } from '../recipe/recipe.js';
import { refuseOrder } from '../recipe/step-order.js';
import { type ChangedTensor, changedTensors } from './changed-tensors.js';
import { embeddingTables, isHead, isTable } from './embedding-tables.js';
import { type CalibrationShape, type Forecast, forecast } from './forecast.js';
import { leftOut } from './left-out.js';
import { type ModelSource, rewriteModel } from './model-source.js';
import { refuseModule } from './refuse-module.js';

/** What a tensor is for, for sums over kinds. A tied head counts as an embedding. */
export type TensorKind = 'linears' | 'embeddings' | 'head' | 'the rest';

/** One tensor of the source and what becomes of it. */
export interface PlannedRow {
  readonly name: string;
  /** `rewrite`: not quantized, but its values change: written in f32. */
  readonly action: 'quantize' | 'rewrite' | 'copy';
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  readonly kind: TensorKind;
  /** In words; quantized rows only. */
  readonly scheme?: string;
  readonly method?: string;
  readonly why: string;
}

/** A linear, and the method that is going to quantize it. */
export interface PlannedModule extends QuantizedModule {
  readonly quantizer: Quantizer;
}

export interface Plan {
  readonly checkpoint: Checkpoint;
  readonly recipe: Recipe;
  /** The model after the recipe's rewrites: the one that is run. */
  readonly model?: ModelDescription;
  /** Tensors that rewrites and transforms change, quantized or not. */
  readonly changed: ReadonlyMap<string, ChangedTensor>;
  readonly rows: readonly PlannedRow[];
  readonly modules: ReadonlyMap<string, PlannedModule>;
  /** Headers and places of all that is written: made when it is asked for first. */
  readonly files: CheckpointPlan;
  /** True when a method needs statistics: the model is going to be run. */
  readonly calibrated: boolean;
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  /** Bytes of the quantized linears, scales and zero points included. */
  readonly bytesOfModules: number;
  /** Bits per weight of the quantized linears, scales and zero points included. */
  readonly bitsPerWeight: number;
  readonly forecast: Forecast;
  readonly notes: readonly string[];
}

/**
 * Decides everything before anything is computed: reads headers only.
 * @throws SchemeError naming the module and the reason when a rule cannot be carried out
 */
export function planRun(checkpoint: Checkpoint, recipe: Recipe, calibration?: CalibrationShape): Plan {
  const disorder = refuseOrder(recipe.transforms ?? []);
  if (disorder) throw new SchemeError(disorder);
  for (const { name, online } of rewritesOf(recipe)) {
    if (online && !recipe.layout.online?.includes(name))
      throw new SchemeError(
        `${name}: the model would need ${online} as it runs, which runtimes that read the ${recipe.layout.name} layout do not compute. Leave that part out`,
      );
  }
  const notes: string[] = [];
  const source = rewriteModel(checkpoint, recipe, referenceKernels);
  const { model } = source;
  const linears = findLinears(checkpoint, source, notes);
  refuseUnmatched(recipe, checkpoint.path, linears);
  const modules = new Map<string, PlannedModule>();
  const reasons = new Map<string, string>();
  const described = recipe.rules.map(describeRule);
  /** Linears of a data-free run that cannot be quantized: one odd matrix does not refuse the others. */
  const odd = new Map<string, string>();
  /** Linears that the layout holds in no folder. */
  const leaves = new Map<string, string>();
  for (const linear of [...linears, ...embeddingTables(checkpoint, source)]) {
    const index = recipe.rules.findIndex((rule) => matches(rule, linear));
    const rule = recipe.rules[index];
    if (!rule || rule.keep) {
      if (rule) reasons.set(linear.module, `kept by ${described[index]}`);
      else if (!isTable(linear)) reasons.set(linear.module, 'kept: no rule matches');
      continue;
    }
    const left = isTable(linear) ? undefined : recipe.layout.leaves?.(linear);
    if (left !== undefined) {
      reasons.set(linear.module, `kept: ${left}`);
      leaves.set(linear.module, left);
      continue;
    }
    const { scheme, activation } = rule;
    const quantizer = (isHead(linear, model) ? rule.head : undefined) ?? rule.quantizer;
    if (rule.candidates)
      throw new SchemeError(`${described[index]}: has candidates to choose from, but no budget was given`);
    if (!quantizer || !scheme) throw new SchemeError(`${described[index]}: needs a method and a scheme, or keep`);
    const planned = { linear, scheme, quantizer, ...(activation ? { activation } : {}) };
    const refusal = refuseModule(planned, recipe);
    // A table is quantized only where the recipe names it: what was wanted in so many words is refused, not left out.
    if (refusal && !isTable(linear) && streams(recipe, planned)) {
      odd.set(linear.module, refusal);
      reasons.set(linear.module, `kept: ${refusal}`);
      continue;
    }
    if (refusal)
      throw new SchemeError(`${linear.module}: ${refusal}. Choose another scheme, or keep this layer with a rule`);
    modules.set(linear.module, planned);
    reasons.set(linear.module, described[index]);
  }
  const [first] = odd;
  if (first && modules.size === 0)
    throw new SchemeError(`${first[0]}: ${first[1]}. Choose another scheme, or keep this layer with a rule`);
  for (const [refusal, [module, ...more]] of byText(new Map([...odd, ...leaves])))
    notes.push(
      more.length > 0 ? `${module} and ${more.length} more are kept: ${refusal}` : `${module} is kept: ${refusal}`,
    );
  // Without a linear to quantize the steps before it still make a folder: the same function with other weights.
  if (modules.size === 0 && !recipe.transforms?.length)
    throw new SchemeError(`no linear of ${checkpoint.path} matches a rule of the recipe: nothing would be quantized`);
  checkFusionGroups(model, modules);
  const unlike = recipe.layout.refuseTogether?.([...modules.values()]);
  if (unlike) throw new SchemeError(unlike);
  if (checkpoint.quantizedModules.length > 0)
    throw new SchemeError(
      `${checkpoint.path} is already quantized (${checkpoint.layout}): start from the original model`,
    );
  const { roundedTo } = checkpoint;
  if (roundedTo !== undefined && modules.size > 0 && !recipe.requantize)
    throw new SchemeError(
      `${checkpoint.path} is already quantized (${roundedTo}), and quantizing it again costs accuracy: start from the original model, or allow it with --requantize`,
    );
  if (roundedTo !== undefined)
    notes.push(
      `the source is quantized as ${roundedTo}: its values are read as f32, and what is kept is written as f32`,
    );
  const { tuner } = recipe;
  if (tuner) checkTuner(tuner, checkpoint, recipe, model, modules);
  const calibrated = tuner !== undefined || walksModel(recipe, modules);
  if (calibrated && !model) throw checkpoint.unknownArchitecture as Error;
  const cautions = new Map<string, string>();
  for (const module of modules.values()) {
    const caution = recipe.layout.caution?.(module);
    if (caution) cautions.set(module.linear.module, caution);
  }
  for (const [caution, names] of byText(cautions))
    notes.push(`${names[0]}${names.length > 1 ? ` and ${names.length - 1} more` : ''}: ${caution}`);
  notes.push(...checkpoint.notes);
  for (const file of checkpoint.ignoredFiles) notes.push(`${file} is a weight file of another kind and is not copied`);

  // The head has a switch of its own in every layout.
  const head = model?.head?.module;
  const changed = changedTensors(checkpoint, source, transformsOf(recipe));
  const kindOf = tensorKinds(model, linears);
  const wordsOf = schemeWords();
  const rowOf = (
    name: string,
    { dtype, shape }: Pick<PlannedRow, 'dtype' | 'shape'>,
    bytesBefore: number,
    bytesKept: number,
  ): PlannedRow => {
    const isWeight = name.endsWith('.weight');
    const module = isWeight ? name.slice(0, -'.weight'.length) : name;
    const kind = kindOf(name);
    const planned = isWeight ? modules.get(module) : undefined;
    const change = changed.get(name)?.why;
    const reason = reasons.get(module);
    const why =
      change === undefined ? (reason ?? 'not a linear of a block') : [reason, change].filter(Boolean).join('; ');
    if (!planned)
      return change === undefined
        ? { name, kind, action: 'copy', dtype, shape, bytesBefore, bytesAfter: bytesKept, why }
        : { name, kind, action: 'rewrite', dtype, shape, bytesBefore, bytesAfter: 4 * elementCount(shape), why };
    let bytesAfter = 0;
    for (const part of recipe.layout.plan(planned)) {
      // The plan of the files would find it as well, but only when it is made.
      if (part.name !== name && checkpoint.tensors.has(part.name))
        throw new FormatError(`tensor ${part.name} is planned twice`);
      bytesAfter += byteLength(part);
    }
    return {
      name,
      kind,
      action: 'quantize',
      dtype,
      shape,
      bytesBefore,
      bytesAfter,
      scheme: wordsOf(planned),
      method: tuner ? `${planned.quantizer.name}, ${tuner.name}` : planned.quantizer.name,
      why,
    };
  };
  const rows: PlannedRow[] = [];
  for (const [name, entry] of checkpoint.tensors)
    rows.push(rowOf(name, entry, sourceBytes(checkpoint, entry), entry.end - entry.begin));
  for (const [name, { shape }] of changed)
    if (!checkpoint.tensors.has(name)) rows.push(rowOf(name, { dtype: 'F32', shape }, 0, 0));
  const filesOf = () =>
    planCheckpoint(checkpoint, recipe.layout, [...modules.values()], {
      maxShardBytes: recipe.maxShardBytes,
      kept: linears.map(({ module }) => module).filter((module) => module !== head && !modules.has(module)),
      rewritten: new Map(
        [...changed].filter(([name]) => !name.endsWith('.weight') || !modules.has(name.replace(/\.weight$/, ''))),
      ),
      config: source.config,
    });
  let files: CheckpointPlan | undefined;
  noteFused(rows, notes);
  const quantized = rows.filter(({ action }) => action === 'quantize');
  const weights = quantized.reduce((sum, { shape }) => sum + elementCount(shape), 0);
  const bytesOfModules = quantized.reduce((sum, row) => sum + row.bytesAfter, 0);
  const planned = [...modules.values()];
  const predicted = forecast(checkpoint, model, recipe, planned, calibrated ? calibration : undefined, tuner);
  if (predicted.disk !== undefined)
    notes.push(
      `${Math.ceil(predicted.disk / 1e6)} MB of activations wait in the output folder while it is made: with them in memory the run would need more than it may take; ${predicted.batch} windows are computed at a time`,
    );
  notes.push(...leftOut(rows, model));
  return {
    checkpoint,
    recipe,
    ...(model ? { model } : {}),
    changed,
    rows,
    modules,
    get files() {
      files ??= filesOf();
      return files;
    },
    calibrated,
    bytesBefore: rows.reduce((sum, row) => sum + row.bytesBefore, 0),
    bytesAfter: rows.reduce((sum, row) => sum + row.bytesAfter, 0),
    bytesOfModules,
    bitsPerWeight: weights > 0 ? (8 * bytesOfModules) / weights : 0,
    forecast: predicted,
    notes,
  };
}

/** Modules by what is said of them, in their order. */
function byText(texts: ReadonlyMap<string, string>): ReadonlyMap<string, readonly string[]> {
  const names = new Map<string, string[]>();
  for (const [module, text] of texts) {
    const present = names.get(text);
    if (present) present.push(module);
    else names.set(text, [module]);
  }
  return names;
}

/**
 * A pattern that matches no linear is a slip of the pen: nothing would happen where something was requested.
 * @throws SchemeError naming the rule and some linears of the model
 */
function refuseUnmatched(recipe: Recipe, path: string, linears: readonly LinearDescription[]): void {
  for (const [index, rule] of recipe.rules.entries()) {
    // Rules with a name are those that a recipe makes for what it does not mention.
    if (rule.name !== undefined || typeof rule.match !== 'string' || linears.some((linear) => matches(rule, linear)))
      continue;
    const names = linears.slice(0, 2).map(({ module }) => module);
    throw new SchemeError(
      `${describeRule(rule, index)}: matches no linear of ${path}; they are named like ${names.join(' and ') || 'none'}`,
    );
  }
}

/** The kind of a tensor by its name. */
function tensorKinds(
  model: ModelDescription | undefined,
  linears: readonly LinearDescription[],
): (name: string) => TensorKind {
  const tables = new Set(model?.embeddingTensors);
  const inner = new Set<string>();
  const heads = new Set<string>();
  for (const { module, roles } of linears) (roles?.includes('head') ? heads : inner).add(module);
  return (name) => {
    const module = name.slice(0, name.endsWith('.weight') ? -7 : name.endsWith('.bias') ? -5 : undefined);
    if (tables.has(name)) return 'embeddings';
    if (heads.has(module)) return 'head';
    return inner.has(module) ? 'linears' : 'the rest';
  };
}

/** Whether quantizing runs the model block by block; if not, it streams tensors. */
export const walksModel = (recipe: Recipe, modules: ReadonlyMap<string, PlannedModule>): boolean =>
  transformsOf(recipe).length > 0 ||
  [...modules.values()].some(({ quantizer, activation }) => quantizer.needs.length > 0 || isStatic(activation));

/** Whether a linear is quantized without running the model: its neighbours do not depend on it. */
const streams = (recipe: Recipe, { quantizer, activation }: PlannedModule): boolean =>
  recipe.tuner === undefined && (recipe.transforms ?? []).length === 0 && quantizer.needs.length === 0 && !activation;

/** What stays as it is although it is most of a model in some: experts that are kept in one tensor of three dimensions. */
function noteFused(rows: readonly PlannedRow[], notes: string[]): void {
  const all = rows.reduce((sum, { shape }) => sum + elementCount(shape), 0);
  const fused = rows.filter(({ action, shape }) => action === 'copy' && shape.length > 2);
  const weights = fused.reduce((sum, { shape }) => sum + elementCount(shape), 0);
  if (weights > all / 100)
    notes.push(
      `${fused[0].name}${fused.length > 1 ? ` and ${fused.length - 1} more tensors` : ''} of ${fused[0].shape.length} dimensions stay as they are: ${((100 * weights) / all).toFixed(1)} % of all weights`,
    );
}

/** A scheme of inputs whose scale comes from calibration. */
export const isStatic = (activation: ActivationScheme | undefined): activation is ActivationScheme =>
  activation !== undefined && !activation.scheme.dynamic;

/** Says a module's scheme in words. Thousands of modules have one scheme, and one text. */
function schemeWords(): (module: QuantizedModule) => string {
  const known = new Map<Scheme, Map<ActivationScheme | undefined, string>>();
  return ({ scheme, activation }) => {
    const ofScheme = known.get(scheme) ?? new Map<ActivationScheme | undefined, string>();
    known.set(scheme, ofScheme);
    let words = ofScheme.get(activation);
    if (words === undefined) {
      words = describeScheme(scheme);
      if (activation) words += `; inputs ${describeActivation(activation)}`;
      ofScheme.set(activation, words);
    }
    return words;
  };
}

/** @throws SchemeError naming the module and the reason when the training cannot be carried out */
function checkTuner(
  tuner: Tuner,
  checkpoint: Checkpoint,
  recipe: Recipe,
  model: ModelDescription | undefined,
  modules: ReadonlyMap<string, PlannedModule>,
): void {
  if (!model) throw checkpoint.unknownArchitecture as Error;
  if (!model.head)
    throw new SchemeError(
      `${tuner.name} trains language models; ${model.architecture} is an encoder: use a method that quantizes layer by layer (gptq, awq, smoothquant)`,
    );
  const [transform] = transformsOf(recipe);
  if (transform)
    throw new SchemeError(
      `${tuner.name} cannot follow ${transform.name}, which changes weights while it learns from text: leave one of them out`,
    );
  for (const { linear, scheme, activation } of modules.values()) {
    const refusal = isStatic(activation)
      ? `${tuner.name} changes what the layers see, so calibrated scales of inputs would no longer fit: use dynamic ones`
      : linear.module === model.head?.module
        ? `${tuner.name} trains the linears of the blocks, not the head: keep it with a rule`
        : tuner.refuse?.(scheme);
    if (refusal) throw new SchemeError(`${linear.module}: ${refusal}`);
  }
}

/** Linears of the blocks; for an unknown architecture those that its tensors' names suggest. */
function findLinears(checkpoint: Checkpoint, source: ModelSource, notes: string[]): readonly LinearDescription[] {
  const { model } = source;
  if (model) {
    const { pooler, classifier } = model;
    const outputs = linearsOf({ blocks: [], ...(pooler ? { pooler } : {}), ...(classifier ? { classifier } : {}) });
    return [...model.blocks.flatMap(({ linears }) => linears), ...untiedHead(checkpoint, source), ...outputs];
  }
  notes.push(
    `${(checkpoint.unknownArchitecture as Error).message}. Every matrix named *.weight that is not an embedding, norm, router or head is taken as a linear [out, in].`,
  );
  return guessLinears(checkpoint.tensors);
}

/** The output projection when it has a tensor of its own: kept unless a rule names it. */
function untiedHead({ tensors }: Checkpoint, { model, rewritten }: ModelSource): readonly LinearDescription[] {
  if (!model?.head) return [];
  const name = `${model.head.module}.weight`;
  return (tensors.has(name) || rewritten.has(name)) && !model.embeddingTensors.includes(name) ? [model.head] : [];
}

/** Runtimes fuse q,k,v and gate,up: the members must share one scheme (docs/reference/file-formats.md#rules-for-all-of-them). */
function checkFusionGroups(model: ModelDescription | undefined, modules: ReadonlyMap<string, PlannedModule>): void {
  const words = schemeWords();
  const schemeOf = (module: string): string => {
    const planned = modules.get(module);
    return planned ? words(planned) : 'kept';
  };
  for (const block of model?.blocks ?? []) {
    for (const group of block.fusionGroups) {
      const odd = group.find((module) => schemeOf(module) !== schemeOf(group[0]));
      if (odd) {
        throw new SchemeError(
          `${group[0]} (${schemeOf(group[0])}) and ${odd} (${schemeOf(odd)}) are fused by runtimes and must share one scheme: let one rule match both`,
        );
      }
    }
  }
}
