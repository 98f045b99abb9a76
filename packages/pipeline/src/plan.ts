import { type Checkpoint, type CheckpointPlan, planCheckpoint, type QuantizedModule } from '@q/checkpoint';
import {
  describeScheme,
  elementCount,
  type LinearDescription,
  type Quantizer,
  type Scheme,
  SchemeError,
} from '@q/core';
import { byteLength } from '@q/safetensors';
import { type CalibrationShape, type Forecast, forecast } from './forecast.js';
import { describeRule, matches, type Recipe } from './recipe.js';

/** One tensor of the source and what becomes of it. */
export interface PlannedRow {
  readonly name: string;
  readonly action: 'quantize' | 'copy';
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytesBefore: number;
  readonly bytesAfter: number;
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
  readonly rows: readonly PlannedRow[];
  readonly modules: ReadonlyMap<string, PlannedModule>;
  readonly files: CheckpointPlan;
  /** True when a method needs statistics: the model is going to be run. */
  readonly calibrated: boolean;
  readonly bytesBefore: number;
  readonly bytesAfter: number;
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
  const notes: string[] = [];
  const linears = findLinears(checkpoint, notes);
  const modules = new Map<string, PlannedModule>();
  const reasons = new Map<string, string>();
  for (const linear of linears) {
    const index = recipe.rules.findIndex((rule) => matches(rule, linear.module));
    const rule = recipe.rules[index];
    if (!rule || rule.keep) {
      reasons.set(linear.module, rule ? `kept by ${describeRule(rule, index)}` : 'kept: no rule matches');
      continue;
    }
    const { quantizer, scheme } = rule;
    if (!quantizer || !scheme)
      throw new SchemeError(`${describeRule(rule, index)}: needs a method and a scheme, or keep`);
    const planned = { linear, scheme, quantizer };
    const refusal = refuse(planned, recipe);
    if (refusal)
      throw new SchemeError(`${linear.module}: ${refusal}. Choose another scheme, or keep this layer with a rule`);
    modules.set(linear.module, planned);
    reasons.set(linear.module, describeRule(rule, index));
  }
  if (modules.size === 0)
    throw new SchemeError(`no linear of ${checkpoint.path} matches a rule of the recipe: nothing would be quantized`);
  checkFusionGroups(checkpoint, modules);
  if (checkpoint.quantizedModules.length > 0) {
    throw new SchemeError(
      `${checkpoint.path} is already quantized (${checkpoint.layout}): start from the original model`,
    );
  }
  const calibrated = [...modules.values()].some(({ quantizer }) => quantizer.needs.length > 0);
  if (calibrated && !checkpoint.model) throw checkpoint.unknownArchitecture as Error;
  const cautions = new Map<string, string[]>();
  for (const module of modules.values()) {
    const caution = recipe.layout.caution?.(module);
    if (caution) cautions.set(caution, [...(cautions.get(caution) ?? []), module.linear.module]);
  }
  for (const [caution, names] of cautions)
    notes.push(`${names[0]}${names.length > 1 ? ` and ${names.length - 1} more` : ''}: ${caution}`);
  for (const file of checkpoint.ignoredFiles) notes.push(`${file} is a weight file of another kind and is not copied`);

  // The head has a switch of its own in every layout.
  const head = checkpoint.model?.head.module;
  const files = planCheckpoint(checkpoint, recipe.layout, [...modules.values()], {
    maxShardBytes: recipe.maxShardBytes,
    kept: linears.map(({ module }) => module).filter((module) => module !== head && !modules.has(module)),
  });
  const rows = [...checkpoint.tensors].map(([name, { dtype, shape, begin, end }]): PlannedRow => {
    const module = name.replace(/\.weight$/, '');
    const planned = name.endsWith('.weight') ? modules.get(module) : undefined;
    const bytesBefore = end - begin;
    if (!planned)
      return {
        name,
        action: 'copy',
        dtype,
        shape,
        bytesBefore,
        bytesAfter: bytesBefore,
        why: reasons.get(module) ?? 'not a linear of a block',
      };
    return {
      name,
      action: 'quantize',
      dtype,
      shape,
      bytesBefore,
      bytesAfter: recipe.layout.plan(planned).reduce((sum, part) => sum + byteLength(part), 0),
      scheme: describeScheme(planned.scheme),
      method: planned.quantizer.name,
      why: reasons.get(module) as string,
    };
  });
  const quantized = rows.filter(({ action }) => action === 'quantize');
  const weights = quantized.reduce((sum, { shape }) => sum + elementCount(shape), 0);
  return {
    checkpoint,
    recipe,
    rows,
    modules,
    files,
    calibrated,
    bytesBefore: rows.reduce((sum, row) => sum + row.bytesBefore, 0),
    bytesAfter: rows.reduce((sum, row) => sum + row.bytesAfter, 0),
    bitsPerWeight: (8 * quantized.reduce((sum, row) => sum + row.bytesAfter, 0)) / weights,
    forecast: forecast(checkpoint, [...modules.values()], calibrated ? calibration : undefined),
    notes,
  };
}

function refuse(planned: PlannedModule, recipe: Recipe): string | undefined {
  const { linear, scheme, quantizer } = planned;
  const { granularity } = scheme;
  if (granularity.kind === 'group' && granularity.size > linear.inFeatures) {
    return `groupSize ${granularity.size} is larger than its ${linear.inFeatures} input features`;
  }
  return quantizer.refuse?.(scheme, [linear.outFeatures, linear.inFeatures]) ?? recipe.layout.refuse(planned);
}

/** Linears of the blocks; for an unknown architecture every matrix that does not look like an embedding, norm or head. */
function findLinears(checkpoint: Checkpoint, notes: string[]): readonly LinearDescription[] {
  if (checkpoint.model)
    return [...checkpoint.model.blocks.flatMap(({ linears }) => linears), ...untiedHead(checkpoint)];
  const linears: LinearDescription[] = [];
  for (const [name, { shape, dtype }] of checkpoint.tensors) {
    if (!name.endsWith('.weight') || shape.length !== 2 || !/^(F|BF)/.test(dtype)) continue;
    if (/embed|norm|head|wte|wpe|router|ln_|(^|\.)gate\.weight$/i.test(name)) continue;
    linears.push({
      module: name.replace(/\.weight$/, ''),
      outFeatures: shape[0],
      inFeatures: shape[1],
      transposed: false,
      bias: checkpoint.tensors.has(name.replace(/weight$/, 'bias')),
    });
  }
  notes.push(
    `${(checkpoint.unknownArchitecture as Error).message} Every matrix named *.weight that is not an embedding, norm, router or head is taken as a linear [out, in].`,
  );
  return linears;
}

/** The output projection when it has a tensor of its own: kept unless a rule names it. */
function untiedHead({ model, tensors }: Checkpoint): readonly LinearDescription[] {
  return model &&
    tensors.has(`${model.head.module}.weight`) &&
    !model.embeddingTensors.includes(`${model.head.module}.weight`)
    ? [model.head]
    : [];
}

/** Runtimes fuse q,k,v and gate,up: the members must share one scheme (formats.md 0). */
function checkFusionGroups({ model }: Checkpoint, modules: ReadonlyMap<string, PlannedModule>): void {
  const schemeOf = (module: string): string => {
    const scheme: Scheme | undefined = modules.get(module)?.scheme;
    return scheme ? describeScheme(scheme) : 'kept';
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
