import {
  type Checkpoint,
  type CheckpointPlan,
  keptAsHalves,
  type PlannedCache,
  planCheckpoint,
  type QuantizedModule,
  sourceBytes,
} from '@q/checkpoint';
import {
  type ActivationScheme,
  describeActivation,
  describeScheme,
  elementCount,
  FormatError,
  type LinearDescription,
  type ModelDescription,
  type Quantizer,
  referenceKernels,
  type Scheme,
  SchemeError,
  type Tuner,
  withoutHead,
} from '@q/core';
import { byteLength, type PlannedTensor } from '@q/safetensors';
import { describeRule, type Recipe, rewritesOf, ruleTest, transformsOf } from '../recipe/recipe.js';
import { refuseOrder } from '../recipe/step-order.js';
import { byText } from './by-text.js';
import { type ChangedTensor, changedTensors } from './changed-tensors.js';
import { embeddingTables, isHead, isTable } from './embedding-tables.js';
import { findLinears } from './find-linears.js';
import { type CalibrationShape, type Forecast, forecast } from './forecast.js';
import { rewriteModel } from './model-source.js';
import { refusalText } from './refusal-text.js';
import { type Refusal, refuseModule } from './refuse-module.js';
import { type RowGroup, RowGroups } from './row-groups.js';
import { cacheNotes, planCache } from './static-cache.js';
import { StoredBytes } from './stored-bytes.js';
import { UnreadTensors } from './unread-tensors.js';
import { shardNote } from './window-shards.js';

/** The kind of a tensor, for sums by kind. A tied head counts as an embedding. */
export type TensorKind = 'linears' | 'embeddings' | 'head' | 'the rest';

/** One tensor of the source, and the plan for it. */
export interface PlannedRow {
  readonly name: string;
  /**
   * `rewrite`: the tensor is not quantized, but its values change. It is written in f32. `add`: the source does not have
   * the tensor, a scale of the cache.
   */
  readonly action: 'quantize' | 'rewrite' | 'copy' | 'add';
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  readonly kind: TensorKind;
  /** The scheme in words; only quantized rows have it. */
  readonly scheme?: string;
  readonly method?: string;
  readonly why: string;
}

/** A linear, and the method that quantizes it. */
export interface PlannedModule extends QuantizedModule {
  readonly quantizer: Quantizer;
}

/** A planned module, with the texts of its row. */
interface DecidedModule extends PlannedModule {
  readonly why: string;
  readonly bytes: number;
}

export interface Plan {
  readonly checkpoint: Checkpoint;
  readonly recipe: Recipe;
  /** The model after the recipe's rewrites. The run uses this model. */
  readonly model?: ModelDescription;
  /** Tensors that rewrites and transforms change, quantized or not. */
  readonly changed: ReadonlyMap<string, ChangedTensor>;
  /** A row for every tensor, made on first use. See `eachRow` for models of many tensors. */
  readonly rows: readonly PlannedRow[];
  /** Number of tensors of all rows. */
  readonly tensors: number;
  /** The rows in groups: rows whose names differ only in numbers are one group. */
  readonly groups: readonly RowGroup[];
  readonly modules: ReadonlyMap<string, PlannedModule>;
  /** Static scales of the cache, which the run collects. */
  readonly cache?: PlannedCache;
  /** Headers and offsets of all files that are written, made on first use. */
  readonly files: CheckpointPlan;
  /** True if a method needs statistics, so the model has to run. */
  readonly calibrated: boolean;
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  /** Bytes of the quantized linears, scales and zero points included. */
  readonly bytesOfModules: number;
  /** Bits per weight of the quantized linears, scales and zero points included. */
  readonly bitsPerWeight: number;
  readonly forecast: Forecast;
  readonly notes: readonly string[];
  /** Yields the rows one after the other and keeps none. */
  eachRow(): Iterable<PlannedRow>;
}

/**
 * Decides everything before anything is computed. It reads headers only.
 * @throws SchemeError naming the module and the reason when a rule cannot be applied
 */
export function planRun(opened: Checkpoint, recipe: Recipe, calibration?: CalibrationShape): Plan {
  const disorder = refuseOrder(recipe.transforms ?? []);
  if (disorder) throw new SchemeError(disorder);
  for (const { name, online } of rewritesOf(recipe)) {
    if (online && !recipe.layout.online?.includes(name))
      throw new SchemeError(
        `${name}: the model would need ${online} as it runs, which runtimes that read the ${recipe.layout.name} layout do not compute. Leave that part out`,
      );
  }
  const notes: string[] = [];
  const source = rewriteModel(opened, recipe, referenceKernels);
  const { model } = source;
  const { linears, kept: guessed } = findLinears(opened, source, notes);
  refuseUnmatched(recipe, opened.path, linears, model);
  const modules = new Map<string, DecidedModule>();
  /** Linears and tables that are not quantized, and the reasons. */
  const kept = new Map<string, { readonly linear: LinearDescription; readonly why: string }>();
  const described = recipe.rules.map(describeRule);
  const tests = recipe.rules.map((rule) => ruleTest(rule, model));
  const stored = new StoredBytes(recipe.layout, opened);
  /** Linears of a data-free run that cannot be quantized. One such matrix does not refuse the others. */
  const odd = new Map<string, Refusal>();
  /** The other linears and tables that cannot be quantized. Together they are one error. */
  const refused = new Map<string, Refusal>();
  /** Linears that the layout cannot hold in any folder. */
  const leaves = new Map<string, string>();
  for (const linear of [...linears, ...embeddingTables(opened, source)]) {
    const index = tests.findIndex((applies) => applies(linear));
    const rule = recipe.rules[index];
    if (!rule || rule.keep) {
      if (rule) kept.set(linear.module, { linear, why: `kept by ${described[index]}` });
      else if (!isTable(linear)) kept.set(linear.module, { linear, why: 'kept: no rule matches' });
      continue;
    }
    const left = isTable(linear) ? undefined : recipe.layout.leaves?.(linear);
    if (left !== undefined) {
      kept.set(linear.module, { linear, why: `kept: ${left}` });
      leaves.set(linear.module, left);
      continue;
    }
    const { scheme, activation } = rule;
    const quantizer = (isHead(linear, model) ? rule.head : undefined) ?? rule.quantizer;
    if (rule.candidates)
      throw new SchemeError(`${described[index]}: has candidates to choose from, but no budget was given`);
    if (!quantizer || !scheme) throw new SchemeError(`${described[index]}: needs a method and a scheme, or keep`);
    // This literal is written out, because a spread takes ten times as long, and there may be hundreds of thousands of
    // modules.
    const planned: PlannedModule = activation
      ? { linear, scheme, quantizer, activation }
      : { linear, scheme, quantizer };
    const refusal = refuseModule(planned, recipe, rule);
    // A table is quantized only if the recipe names it. So a table that cannot be quantized is refused, not left out.
    if (refusal && !isTable(linear) && streams(recipe, planned)) {
      odd.set(linear.module, refusal);
      kept.set(linear.module, { linear, why: `kept: ${refusal.reason}` });
      continue;
    }
    if (refusal) {
      // No choice of schemes helps a method that runs a model of unknown architecture.
      if (!model && quantizer.needs.length > 0) throw opened.unknownArchitecture as Error;
      refused.set(linear.module, refusal);
      continue;
    }
    const [why, bytes] = [described[index], stored.bytesOf(planned)];
    modules.set(
      linear.module,
      activation ? { linear, scheme, quantizer, activation, why, bytes } : { linear, scheme, quantizer, why, bytes },
    );
  }
  if (refused.size > 0) throw new SchemeError(refusalText(refused));
  if (odd.size > 0 && modules.size === 0) throw new SchemeError(refusalText(odd));
  const reasons = [...odd].map(([module, { reason }]) => [module, reason] as const);
  for (const [refusal, [module, ...more]] of byText(new Map([...reasons, ...leaves])))
    notes.push(
      more.length > 0 ? `${module} and ${more.length} more are kept: ${refusal}` : `${module} is kept: ${refusal}`,
    );
  // Without a linear to quantize, the steps still make a folder: the same function with other weights.
  if (modules.size === 0 && !recipe.transforms?.length)
    throw new SchemeError(`no linear of ${opened.path} matches a rule of the recipe: nothing would be quantized`);
  checkFusionGroups(model, modules, kept);
  const unlike = recipe.layout.refuseTogether?.([...modules.values()]);
  if (unlike) throw new SchemeError(unlike);
  if (opened.quantizedModules.length > 0)
    throw new SchemeError(`${opened.path} is already quantized (${opened.layout}): start from the original model`);
  const { roundedTo } = opened;
  if (roundedTo !== undefined && modules.size > 0 && !recipe.requantize)
    throw new SchemeError(
      `${opened.path} is already quantized (${roundedTo}), and quantizing it again costs accuracy: start from the original model, or allow it with --requantize`,
    );
  if (roundedTo !== undefined)
    notes.push(
      `the source is quantized as ${roundedTo}: its values are read as f32, and matrices that are kept are written as f16`,
    );
  const checkpoint = keptAsHalves(
    opened,
    (name) => !modules.has(name.replace(/\.weight$/, '')) && !source.rewritten.has(name),
  );
  const { tuner } = recipe;
  if (tuner) checkTuner(tuner, checkpoint, recipe, model, modules);
  const cache = planCache(checkpoint, recipe, model);
  const calibrated = tuner !== undefined || walksModel(recipe, modules);
  if (calibrated && !model) throw checkpoint.unknownArchitecture as Error;
  const sharded = shardNote(recipe, walksModel(recipe, modules), calibration?.count);
  if (sharded !== undefined) notes.push(sharded);
  const cautions = new Map<string, string>();
  for (const module of modules.values()) {
    const caution = recipe.layout.caution?.(module);
    if (caution) cautions.set(module.linear.module, caution);
  }
  for (const [caution, names] of byText(cautions))
    notes.push(`${names[0]}${names.length > 1 ? ` and ${names.length - 1} more` : ''}: ${caution}`);
  if (cache) notes.push(...cacheNotes(checkpoint, recipe, cache));
  notes.push(...checkpoint.notes);
  for (const file of checkpoint.ignoredFiles) notes.push(`${file} is a weight file of another kind and is not copied`);

  // Every layout has its own setting for the head.
  const head = model?.head?.module;
  const changed = changedTensors(checkpoint, source, transformsOf(recipe));
  const tables = new Set(model?.embeddingTensors);
  const wordsOf = schemeWords();
  const rowOf = (
    name: string,
    { dtype, shape }: Pick<PlannedRow, 'dtype' | 'shape'>,
    bytesBefore: number,
    bytesKept: number,
  ): PlannedRow => {
    const isWeight = name.endsWith('.weight');
    const module = isWeight ? name.slice(0, -'.weight'.length) : name;
    const planned = isWeight ? modules.get(module) : undefined;
    const left = planned ? undefined : kept.get(module);
    const linear = planned?.linear ?? left?.linear ?? linearOfBias(name, modules, kept);
    const kind = tables.has(name) ? 'embeddings' : linear ? kindOf(linear) : 'the rest';
    const change = changed.size === 0 ? undefined : changed.get(name)?.why;
    const reason = planned?.why ?? left?.why ?? guessed.get(name);
    const why =
      change === undefined ? (reason ?? 'not a linear of a block') : [reason, change].filter(Boolean).join('; ');
    if (planned)
      return {
        name,
        kind,
        action: 'quantize',
        dtype,
        shape,
        bytesBefore,
        bytesAfter: planned.bytes,
        scheme: wordsOf(planned),
        method: tuner ? `${planned.quantizer.name}, ${tuner.name}` : planned.quantizer.name,
        why,
      };
    for (const ending of stored.endings)
      if (name.endsWith(ending) && modules.has(name.slice(0, -ending.length)))
        // The plan of the files would find it too, but that plan is made later.
        throw new FormatError(`tensor ${name} is planned twice`);
    return change === undefined
      ? { name, kind, action: 'copy', dtype, shape, bytesBefore, bytesAfter: bytesKept, why }
      : { name, kind, action: 'rewrite', dtype, shape, bytesBefore, bytesAfter: 4 * elementCount(shape), why };
  };
  const eachRow = function* (): Generator<PlannedRow> {
    for (const [name, entry] of checkpoint.tensors)
      yield rowOf(name, entry, sourceBytes(checkpoint, entry), entry.end - entry.begin);
    for (const [name, { shape }] of changed)
      if (!checkpoint.tensors.has(name)) yield rowOf(name, { dtype: 'F32', shape }, 0, 0);
    for (const module of cache?.modules ?? [])
      for (const part of recipe.layout.cacheScales?.plan(module, (cache as PlannedCache).scheme) ?? [])
        yield addedRow(part, `static scale of the cache, ${cache?.scheme.format.name}`);
  };
  const sums = new RowGroups();
  const unread = new UnreadTensors(checkpoint, model);
  let tensors = 0;
  for (const row of eachRow()) {
    tensors++;
    sums.add(row);
    unread.add(row);
  }
  const groups = sums.all();
  const filesOf = () =>
    planCheckpoint(checkpoint, recipe.layout, [...modules.values()], {
      maxShardBytes: recipe.maxShardBytes,
      kept: linears.map(({ module }) => module).filter((module) => module !== head && !modules.has(module)),
      rewritten: new Map(
        [...changed].filter(([name]) => !name.endsWith('.weight') || !modules.has(name.replace(/\.weight$/, ''))),
      ),
      config: source.config,
      ...(cache ? { cache } : {}),
    });
  let files: CheckpointPlan | undefined;
  let rows: readonly PlannedRow[] | undefined;
  noteFused(groups, notes);
  const quantized = groups.filter(({ action }) => action === 'quantize');
  const weights = quantized.reduce((sum, group) => sum + weightsOf(group), 0);
  const bytesOfModules = quantized.reduce((sum, group) => sum + group.bytesAfter, 0);
  const planned = [...modules.values()];
  const predicted = forecast({
    ...{ checkpoint, model, recipe, modules: planned, tuner, rewritten: source.rewritten },
    ...{ calibration: calibrated ? calibration : undefined, threads: calibration?.threads },
  });
  if (predicted.disk !== undefined)
    notes.push(
      `${Math.ceil(predicted.disk / 1e6)} MB of activations wait in the output folder while it is made: with them in memory the run would need more than it may take; ${predicted.batch} windows are computed at a time`,
    );
  const allWeights = groups.reduce((sum, group) => sum + weightsOf(group), 0);
  notes.push(...unread.notes(allWeights));
  return {
    checkpoint,
    recipe,
    ...(model ? { model } : {}),
    changed,
    get rows() {
      rows ??= [...eachRow()];
      return rows;
    },
    tensors,
    groups,
    modules,
    ...(cache ? { cache } : {}),
    get files() {
      files ??= filesOf();
      return files;
    },
    calibrated,
    bytesBefore: groups.reduce((sum, group) => sum + group.bytesBefore, 0),
    bytesAfter: groups.reduce((sum, group) => sum + group.bytesAfter, 0),
    bytesOfModules,
    bitsPerWeight: weights > 0 ? (8 * bytesOfModules) / weights : 0,
    forecast: predicted,
    notes,
    eachRow,
  };
}

/** The row of a tensor that the source does not have. */
const addedRow = (part: PlannedTensor, why: string): PlannedRow => ({
  name: part.name,
  kind: 'the rest',
  action: 'add',
  dtype: part.dtype,
  shape: part.shape,
  bytesBefore: 0,
  bytesAfter: byteLength(part),
  why,
});

/**
 * Refuses a pattern that matches no linear: it is probably a typing error, and it would have no effect.
 * @throws SchemeError naming the rule and some linears of the model
 */
function refuseUnmatched(
  recipe: Recipe,
  path: string,
  linears: readonly LinearDescription[],
  model: ModelDescription | undefined,
): void {
  for (const [index, rule] of recipe.rules.entries()) {
    // A recipe adds rules with a name for linears that it does not mention, so such rules may match nothing.
    if (rule.name !== undefined || typeof rule.match !== 'string' || linears.some(ruleTest(rule, model))) continue;
    const names = linears.slice(0, 2).map(({ module }) => module);
    throw new SchemeError(
      `${describeRule(rule, index)}: matches no linear of ${path}; they are named like ${names.join(' and ') || 'none'}`,
    );
  }
}

const kindOf = ({ roles }: LinearDescription): TensorKind => (roles?.includes('head') ? 'head' : 'linears');

/** The linear to which a bias belongs. */
function linearOfBias(
  name: string,
  ...among: readonly ReadonlyMap<string, { readonly linear: LinearDescription }>[]
): LinearDescription | undefined {
  if (!name.endsWith('.bias')) return undefined;
  const module = name.slice(0, -'.bias'.length);
  for (const each of among) {
    const found = each.get(module);
    if (found) return found.linear;
  }
  return undefined;
}

/** Whether quantizing runs the model block by block. Otherwise tensors are quantized one after the other. */
export const walksModel = (recipe: Recipe, modules: ReadonlyMap<string, PlannedModule>): boolean =>
  recipe.kvCache !== undefined || transformsOf(recipe).length > 0 || readsStatistics(modules);

function readsStatistics(modules: ReadonlyMap<string, PlannedModule>): boolean {
  for (const { quantizer, activation } of modules.values())
    if (quantizer.needs.length > 0 || isStatic(activation)) return true;
  return false;
}

/** Whether a linear is quantized without running the model, so that no other linear depends on it. */
const streams = (recipe: Recipe, { quantizer, activation }: PlannedModule): boolean =>
  recipe.tuner === undefined && (recipe.transforms ?? []).length === 0 && quantizer.needs.length === 0 && !activation;

/**
 * Adds a note about experts in one tensor of three dimensions: they are copied, although they are most of the weights
 * in some models.
 */
function noteFused(groups: readonly RowGroup[], notes: string[]): void {
  const all = groups.reduce((sum, group) => sum + weightsOf(group), 0);
  const fused = groups.filter(({ action, shape }) => action === 'copy' && shape.length > 2);
  const weights = fused.reduce((sum, group) => sum + weightsOf(group), 0);
  const tensors = fused.reduce((sum, group) => sum + group.tensors, 0);
  if (weights > all / 100)
    notes.push(
      `${fused[0].first}${tensors > 1 ? ` and ${tensors - 1} more tensors` : ''} of ${fused[0].shape.length} dimensions stay as they are: ${((100 * weights) / all).toFixed(1)} % of all weights`,
    );
}

const weightsOf = ({ shape, tensors }: RowGroup): number => tensors * elementCount(shape);

/** Whether this is a scheme of inputs whose scale comes from calibration. */
export const isStatic = (activation: ActivationScheme | undefined): activation is ActivationScheme =>
  activation !== undefined && !activation.scheme.dynamic;

/** Describes a module's scheme in words. Thousands of modules with the same scheme share one text. */
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

/** @throws SchemeError naming the module and the reason when the training is not possible */
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
      `${tuner.name} trains language models; ${withoutHead(model)}. Use a method that quantizes linear by linear (gptq, awq, smoothquant)`,
    );
  const [transform] = transformsOf(recipe);
  if (transform)
    throw new SchemeError(
      `${tuner.name} cannot follow ${transform.name}, which changes weights while it learns from text: leave one of them out`,
    );
  for (const { linear, scheme, activation } of modules.values()) {
    const refusal = isStatic(activation)
      ? `${tuner.name} changes what the linears see, so calibrated scales of inputs would no longer fit: use dynamic ones`
      : linear.module === model.head?.module
        ? `${tuner.name} trains the linears of the blocks, not the head: keep it with a rule`
        : tuner.refuse?.(scheme);
    if (refusal) throw new SchemeError(`${linear.module}: ${refusal}`);
  }
}

/**
 * Runtimes fuse q,k,v and gate,up: the members must share one scheme
 * (docs/reference/file-formats.md#rules-for-all-of-them).
 */
function checkFusionGroups(
  model: ModelDescription | undefined,
  modules: ReadonlyMap<string, PlannedModule>,
  kept: ReadonlyMap<string, unknown>,
): void {
  const words = schemeWords();
  const different = new Set<string>();
  for (const planned of modules.values()) different.add(words(planned));
  // Usually all modules have one scheme. Then nothing has to be looked up, and a model may have tens of thousands of
  // blocks.
  const outside = model?.head?.module;
  if (different.size <= 1 && (kept.size === 0 || (kept.size === 1 && outside !== undefined && kept.has(outside))))
    return;
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
