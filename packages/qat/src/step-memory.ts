/** Bytes of a training step. */
export interface StepMemory {
  /** Trained values on the host, and the tensors made of them, there and on the engine. */
  readonly parameters: number;
  /** Gradients on the host: by tensor, as the engine returns them, and by parameter. */
  readonly gradients: number;
  readonly optimizer: number;
  /** The most bytes on the engine in addition to frozen and trained tensors. */
  readonly activations: number;
  /** Bytes on the engine before the step. */
  readonly frozen: number;
}

const names = ['parameters', 'gradients', 'optimizer', 'activations', 'frozen'] as const;

/** Integers up to this number are exact in f32. */
const exact = 2 ** 24;

/**
 * Converts the counts for a checkpoint, whose arrays are f32: each count becomes two numbers that f32 holds exactly.
 */
export const writeMemory = (memory: StepMemory): Float32Array =>
  Float32Array.from(
    names.flatMap((name) => {
      const high = Math.floor(memory[name] / exact);
      return [high, memory[name] - high * exact];
    }),
  );

export const readMemory = (saved: Float32Array): StepMemory =>
  Object.fromEntries(names.map((name, i) => [name, saved[2 * i] * exact + saved[2 * i + 1]])) as unknown as StepMemory;
