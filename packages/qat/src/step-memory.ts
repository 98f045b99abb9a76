/** Bytes that a step of training holds. */
export interface StepMemory {
  /** Trained values on the host, and the tensors made of them, there and on the engine. */
  readonly parameters: number;
  /** On the host: by tensor, as they come from the engine, and by parameter. */
  readonly gradients: number;
  readonly optimizer: number;
  /** The most that the engine held beyond frozen and trained tensors. */
  readonly activations: number;
  /** On the engine before the step. */
  readonly frozen: number;
}

const names = ['parameters', 'gradients', 'optimizer', 'activations', 'frozen'] as const;

/** What f32 counts exactly. */
const exact = 2 ** 24;

/** For a checkpoint, whose arrays are f32: each count as two numbers that f32 holds exactly. */
export const writeMemory = (memory: StepMemory): Float32Array =>
  Float32Array.from(
    names.flatMap((name) => {
      const high = Math.floor(memory[name] / exact);
      return [high, memory[name] - high * exact];
    }),
  );

export const readMemory = (saved: Float32Array): StepMemory =>
  Object.fromEntries(names.map((name, i) => [name, saved[2 * i] * exact + saved[2 * i + 1]])) as unknown as StepMemory;
