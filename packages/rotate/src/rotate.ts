import {
  boolean,
  type Context,
  checkOptions,
  type Declaration,
  elementCount,
  linearsOf,
  type ModelDescription,
  type ModelStep,
  type NormDescription,
  type OptionValues,
  type Rewrite,
  type RewrittenModel,
  type RowSelection,
  SchemeError,
  selectedRows,
  type Tensor,
  tensor,
  type WeightSource,
} from '@q/core';
import { foldBias, foldGain, keptBias, type NormParameters } from './fold-norm.js';
import { applyRotation, type Rotation, rotateRows } from './rotation.js';
import { innerRotations, type RotatedPlaces, refusePlaces, residualRotation, valueRotations } from './rotations.js';

const rotateOptions = {
  /** R1: rotate the residual stream. Norms are folded first into the weights that read them. Default true. */
  residual: boolean({ default: true, help: 'Rotate the residual stream (R1).' }),
  /** R2: rotate each head's values between v and o. Default true. */
  values: boolean({ default: true, help: "Rotate each head's values between v and o (R2)." }),
  /**
   * R4: fold the inverse of the online rotation before the down projections into their weights. The model then needs a
   * runtime with that rotation ({@link rotateMlpInner}). Default false.
   */
  mlpInner: boolean({
    default: false,
    help: 'Fold the inverse of the online rotation before the down projections into their weights (R4).',
  }),
};

export type RotateOptions = OptionValues<typeof rotateOptions>;

/** The change of one linear: `W -> Out^T (W diag(gain)) In`, `bias -> (bias + W normBias) Out`. */
interface LinearChange {
  norm?: NormDescription;
  input?: RotationOf;
  output?: { readonly rotation: RotationOf; readonly rows?: RowSelection };
}

/** Made when the first tensor is read: the plan does not need it. */
type RotationOf = () => Promise<Rotation>;

type Compute = (source: WeightSource) => Promise<Float32Array>;

/**
 * Rotates a model without changing its function (QuaRot, arXiv 2404.00456). The outliers of single channels are spread
 * over all channels, and the values become close to normal. The residual stream x becomes x Q: every weight that reads
 * it becomes `W Q`, and every weight that writes it `Q^T W`. Norms lose their gain, since a gain does not commute with
 * Q. In models with layer norms Q also keeps the vector of ones, and so the mean that the norm subtracts.
 */
export function rotate(options: RotateOptions = {}): Rewrite {
  const { residual, values, mlpInner } = checkOptions('rotate', rotateOptions, options);
  const places: RotatedPlaces = { residual, values, mlpInner };
  const refuse = (model: ModelDescription) =>
    residual || values || mlpInner ? refusePlaces(model, places) : 'no rotation was requested';
  return {
    name: 'rotate',
    options: { ...places },
    ...(mlpInner ? { online: 'a rotation of the inputs of the down projections (R4)' } : {}),
    refuse,
    apply(model, source, context) {
      const refusal = refuse(model);
      if (refusal) throw new SchemeError(`rotate: ${refusal}`);
      return rewritten(source, new Rewriting(model, places, context));
    },
  };
}

function rewritten(source: WeightSource, { shapes, computed, config }: Rewriting): RewrittenModel {
  return {
    changed: shapes,
    config,
    async weight(name): Promise<Tensor<'f32'>> {
      const compute = computed.get(name);
      return compute
        ? tensor('f32', shapes.get(name) as readonly number[], await compute(source))
        : source.weight(name);
    },
  };
}

/** The change of every tensor, from the description alone. */
class Rewriting {
  readonly shapes = new Map<string, readonly number[]>();
  readonly computed = new Map<string, Compute>();
  readonly config: Record<string, unknown> = {};
  private readonly changes = new Map<string, LinearChange>();

  constructor(
    private readonly model: ModelDescription,
    places: RotatedPlaces,
    private readonly context: Pick<Context, 'random' | 'kernels'>,
  ) {
    if (places.residual) this.planResidual();
    if (places.values) this.planValues();
    if (places.mlpInner) {
      for (const [module, rotation] of innerRotations(model, context.random)) {
        this.change(module).input = async () => rotation;
      }
    }
    for (const [module, change] of this.changes) this.addLinear(module, change);
  }

  private planResidual(): void {
    const { residualStream: stream, head, ties, expected, hiddenSize } = this.model;
    if (!stream) return;
    let made: Promise<Rotation> | undefined;
    const rotation = () => (made ??= residualRotation(this.model, this.context.random, this.context.kernels));
    for (const name of stream.embeddings) {
      const shape = expected.get(name) as readonly number[];
      this.add(name, shape, async (source) => this.rotated(await copy(source, name), rotation));
    }
    for (const norm of stream.norms) {
      this.addNorm(norm, rotation);
      for (const module of norm.consumers) Object.assign(this.change(module), { norm, input: rotation });
    }
    for (const module of stream.readers) this.change(module).input = rotation;
    for (const module of stream.writers) this.change(module).output = { rotation };
    const weight = head && `${head.module}.weight`;
    if (weight && ties.has(weight)) {
      this.config['tie_word_embeddings'] = false;
      this.shapes.set(weight, [head.outFeatures, hiddenSize]);
    }
  }

  private planValues(): void {
    for (const block of this.model.blocks) {
      const rotations = valueRotations(block, this.context.random);
      if (!rotations || !block.attention) continue;
      const { value, output } = block.attention;
      this.change(value.module).output = { rotation: async () => rotations.value, rows: value };
      this.change(output).input = async () => rotations.output;
    }
  }

  private change(module: string): LinearChange {
    const present = this.changes.get(module);
    if (present) return present;
    const fresh: LinearChange = {};
    this.changes.set(module, fresh);
    return fresh;
  }

  /** Gain 1; bias 0 if every consumer takes it, else the remaining bias, rotated. */
  private addNorm(norm: NormDescription, rotation: RotationOf): void {
    const shape = [this.model.hiddenSize];
    const weight = 1 - (norm.gainOffset ?? 0);
    this.add(`${norm.module}.weight`, shape, async () => new Float32Array(shape[0]).fill(weight));
    if (norm.kind === 'rms') return;
    this.add(`${norm.module}.bias`, shape, async (source) => {
      if (this.takesBias(norm)) return new Float32Array(shape[0]);
      return this.rotated(keptBias(await normParameters(norm, source)), rotation);
    });
  }

  private addLinear(module: string, change: LinearChange): void {
    const weight = `${module}.weight`;
    const bias = `${module}.bias`;
    const [rows, columns] = this.weightShape(module);
    this.add(weight, [rows, columns], async (source) => {
      const values = await copy(source, weight);
      if (change.norm) foldGain(values, await normParameters(change.norm, source));
      if (change.input) await this.rotated(values, change.input);
      return this.rotatedRows(values, columns, change);
    });
    const { norm, output } = change;
    if (!this.model.expected.has(bias) || !(output || (norm?.kind === 'layer' && this.takesBias(norm)))) return;
    this.add(bias, [rows], async (source) => {
      let values = await copy(source, bias);
      if (norm && this.takesBias(norm)) {
        values = foldBias(values, (await source.weight(weight)).data, await normParameters(norm, source));
      }
      return this.rotatedRows(values, 1, change);
    });
  }

  /** Whether every consumer has a bias that can take the norm's. */
  private takesBias({ consumers }: NormDescription): boolean {
    return consumers.every((module) => this.model.expected.has(`${module}.bias`));
  }

  /** `[out, in]` for any order in the file. */
  private weightShape(module: string): readonly [rows: number, columns: number] {
    const { expected } = this.model;
    const linear = linearsOf(this.model).find((each) => each.module === module);
    if (linear) return [linear.outFeatures, linear.inFeatures];
    const [rows, columns] = expected.get(`${module}.weight`) as readonly number[];
    return [rows, columns];
  }

  private add(name: string, shape: readonly number[], compute: Compute): void {
    this.shapes.set(name, shape);
    this.computed.set(name, compute);
  }

  /** Rows of `values` times Q, in place. */
  private async rotated(values: Float32Array, rotation: RotationOf): Promise<Float32Array> {
    const q = await rotation();
    await applyRotation(q, values, values.length / q.size, this.context.kernels);
    return values;
  }

  private async rotatedRows(values: Float32Array, columns: number, { output }: LinearChange): Promise<Float32Array> {
    if (!output) return values;
    const q = await output.rotation();
    // A rotation applies to the heads' values, one after the other, wherever their rows are.
    const rows = selectedRows(output.rows ?? {}, output.rows ? q.size : values.length / columns);
    const part = new Float32Array(rows.length * columns);
    for (const [i, row] of rows.entries()) part.set(values.subarray(row * columns, (row + 1) * columns), i * columns);
    const turned = await rotateRows(q, part, columns, this.context.kernels);
    for (const [i, row] of rows.entries()) values.set(turned.subarray(i * columns, (i + 1) * columns), row * columns);
    return values;
  }
}

async function copy(source: WeightSource, name: string): Promise<Float32Array> {
  const { data, shape } = await source.weight(name);
  return data.slice(0, elementCount(shape));
}

async function normParameters(norm: NormDescription, source: WeightSource): Promise<NormParameters> {
  const { module, kind, gainOffset = 0 } = norm;
  const weight = (await source.weight(`${module}.weight`)).data;
  const gain = gainOffset === 0 ? weight : weight.map((value) => value + gainOffset);
  return kind === 'layer' ? { module, gain, bias: (await source.weight(`${module}.bias`)).data } : { module, gain };
}

/** The rotation as a step of a recipe. */
export const rotateStep: Declaration<ModelStep, typeof rotateOptions> = {
  name: 'rotate',
  summary: 'rotates the residual stream and the heads: spreads outlier channels, keeps the function',
  options: rotateOptions,
  make: rotate,
};
