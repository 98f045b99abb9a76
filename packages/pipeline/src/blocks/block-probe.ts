import { type BlockWalk, beginStep, type HostState, type Step, stageStep } from '@q/blockwise';
import type { BlockDescription, BlockWeights } from '@q/core';

/**
 * Batches on which a module's outputs are compared: one of 8 windows. For each edge nine candidates are tried, and each
 * candidate runs half a block. On all calibration data this would cost many times the run itself.
 */
const probeBatches = 1;

/** The states of a block on a few batches. They show how a change of weights changes the residual stream. */
export class BlockProbe<T> {
  /** The states before `begin`, and before each stage. */
  private readonly states: (readonly HostState[])[] = [];
  private output: Promise<readonly HostState[]> | undefined;

  constructor(
    private readonly block: BlockDescription,
    private readonly walk: BlockWalk<T>,
  ) {}

  /** Records the current states of the walk: once before `begin`, then before each stage. */
  record(walk: BlockWalk<T>): void {
    this.states.push(walk.snapshot(probeBatches));
  }

  dispose(): void {
    for (const states of this.states) this.walk.drop(states);
    this.states.length = 0;
  }

  /**
   * Mean squared change of the residual stream after the module that contains `modules`, if `weights` replace the
   * loaded ones (`TransformInput.evaluate`).
   */
  async evaluate(weights: BlockWeights, modules: readonly string[]): Promise<number> {
    const { stages } = this.block;
    const steps: readonly Step[] = [beginStep(this.block), ...stages.map(stageStep)];
    const own = Math.max(...modules.map((module) => this.stageOf(module)));
    const end = stages.findIndex(
      ({ addsToResidual, addsChanged }, index) => index >= own && (addsToResidual || addsChanged),
    );
    const last = end < 0 ? stages.length - 1 : end;
    const start = Math.min(own + 1, ...[...weights.keys()].map((name) => this.firstStep(name)));
    const changed = await this.walk.compute(this.states[start], steps.slice(start, last + 2), weights);
    let sum = 0;
    let count = 0;
    const original = last + 1 < stages.length ? this.states[last + 2] : await this.outputs();
    original.forEach(({ parts }, batch) => {
      const [a, b] = [parts.residual.data, changed[batch].parts.residual.data];
      for (let i = 0; i < a.length; i++) sum += (a[i] - b[i]) ** 2;
      count += a.length;
    });
    return sum / count;
  }

  /**
   * The block's output. It is computed when it is first used: the walk that collects statistics needs no output of the
   * last stage, whose product is one of the largest, and most transforms evaluate nothing.
   */
  private outputs(): Promise<readonly HostState[]> {
    const { stages } = this.block;
    const last = stages.length - 1;
    this.output ??= this.walk.compute(this.states[last + 1], [stageStep(stages[last])], new Map());
    return this.output;
  }

  private stageOf(module: string): number {
    return this.block.stages.findIndex(({ linears }) => linears.includes(module));
  }

  /** Index of the first step that reads a tensor. A norm is computed one step before the linears that read it. */
  private firstStep(name: string): number {
    const module = name.replace(/\.[^.]*$/, '');
    const stage = this.stageOf(module);
    if (stage >= 0) return stage + 1;
    const readers = this.block.edges
      .filter(({ producer }) => producer.module === module)
      .flatMap(({ consumers }) => consumers.map((consumer) => this.stageOf(consumer)))
      // A router is in no stage: its inputs are those of the experts' linears.
      .filter((reader) => reader >= 0);
    return readers.length > 0 ? Math.min(...readers) : 0;
  }
}
