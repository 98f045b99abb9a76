import type { BlockWalk } from '@q/blockwise';
import type { Windows } from '@q/calib';
import { type ForwardEngine, languageModel, type ModelDescription, type Runtime, type Tensor } from '@q/core';
import { runBlocks, type WindowRunOptions } from './run-blocks.js';

/** Gives a model's logits on fixed windows, on the host. */
export interface LogitsSource {
  readonly vocabularySize: number;
  /** Logits of windows `first .. first+count-1`: `[count, length, vocabularySize]`, f32. */
  logits(first: number, count: number): Promise<Float32Array>;
  /**
   * Keeps the head's weights on the engine until the returned function is called. Without this each call of
   * {@link logits} uploads them.
   * @param other a source that keeps its head at that time: equal weights are then on the engine once
   */
  keepHead?(other?: LogitsSource): Promise<() => void>;
}

/**
 * Runs a model over windows block by block. The returned source computes logits of a batch from the last hidden states.
 * @param weight reads a tensor by its checkpoint name, linears `[out, in]`
 * @throws SchemeError when the model is an encoder
 */
export async function runWindows<T>(
  model: ModelDescription,
  engine: ForwardEngine<T>,
  weight: (name: string) => Promise<Tensor<'f32'>>,
  windows: Windows,
  options: WindowRunOptions = {},
): Promise<LogitsSource> {
  const { logits } = languageModel(model, 'perplexity');
  const walk = await runBlocks(model, engine, weight, windows, options);
  const head = new Map<string, Tensor<'f32'>>();
  for (const name of model.headTensors) head.set(name, await weight(name));
  return new WalkedLogits(engine, walk, logits, head, options.wrap !== undefined);
}

/** Logits of a walk that has passed all blocks. */
class WalkedLogits<T> implements LogitsSource {
  private kept = 0;

  constructor(
    private readonly engine: ForwardEngine<T>,
    private readonly walk: BlockWalk<T>,
    private readonly head: (runtime: Runtime<T>, hidden: T) => T,
    private weights: ReadonlyMap<string, Tensor<'f32'>>,
    /** Whether the runtime is wrapped: it may then need weights of its own. */
    private readonly wrapped: boolean,
  ) {}

  get vocabularySize(): number {
    return this.walk.model.vocabularySize;
  }

  async logits(first: number, count: number): Promise<Float32Array> {
    const release = await this.keepHead();
    try {
      const windows = Int32Array.from({ length: count }, (_, i) => first + i);
      return await this.walk.outputOf(windows, this.head);
    } finally {
      release();
    }
  }

  async keepHead(other?: LogitsSource): Promise<() => void> {
    if (this.kept === 0) {
      if (other instanceof WalkedLogits && other.kept > 0 && this.isEqual(other)) {
        // A tied table that is not quantized is 671 MB of Gemma 3 270M in f32: it is in memory once, too.
        this.weights = other.weights;
        this.walk.borrowWeights(other.walk);
      } else await this.walk.load([...this.weights.keys()], async (name) => this.weights.get(name) as Tensor<'f32'>);
    }
    this.kept++;
    return () => {
      if (--this.kept === 0) this.walk.clearWeights();
    };
  }

  private isEqual(other: WalkedLogits<any>): boolean {
    return (
      other.engine === this.engine &&
      !other.wrapped &&
      !this.wrapped &&
      other.weights.size === this.weights.size &&
      [...this.weights].every(([name, { data }]) => {
        const own = other.weights.get(name)?.data;
        return own?.length === data.length && data.every((value, i) => value === own[i]);
      })
    );
  }
}
