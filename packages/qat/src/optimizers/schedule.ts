/** Learning rate at a step, as a share of its peak. */
export type Schedule = (step: number, steps: number) => number;

export interface CosineOptions {
  /** Steps over which the rate rises linearly to its peak. Default 0. */
  readonly warmUp?: number;
  /** Share of the peak at the end. Default 0. */
  readonly final?: number;
}

/** Linear warm-up, then half a cosine down to `final`. */
export function cosine(options: CosineOptions = {}): Schedule {
  const { warmUp = 0, final = 0 } = options;
  return (step, steps) => {
    if (step < warmUp) return (step + 1) / warmUp;
    const progress = (step - warmUp) / Math.max(1, steps - warmUp);
    return final + ((1 - final) / 2) * (1 + Math.cos(Math.PI * progress));
  };
}

/** Falls linearly from the peak to 0. */
export const linearDecay: Schedule = (step, steps) => 1 - step / steps;
