import { type ActivationBatch, CalibrationError, type Kernels, type Statistic, type Statistics } from '@q/core';

/** Collects several statistics of one input side by side. */
export interface Collector {
  readonly width: number;
  update(batch: ActivationBatch, kernels: Kernels): Promise<void>;
  /** Adds what another collector of the same statistics has seen. */
  merge(other: Collector): void;
  /** Tokens seen. */
  readonly tokens: number;
  readonly statistics: Statistics;
}

/** @param layer named in messages */
export function createCollector(wanted: readonly Statistic<any>[], width: number, layer: string): Collector {
  const states = new Map(wanted.map((statistic) => [statistic.name, { statistic, state: statistic.create(width) }]));
  let tokens = 0;
  // Reading all inputs once more costs as much as a twentieth of their Gram matrix: a statistic that shows it saves that.
  const watching = [...states.values()].find(({ statistic }) => statistic.finite);

  const refuseNotFinite = (x: Float32Array): void => {
    const bad = firstNotFinite(x);
    if (bad < 0) return;
    throw new CalibrationError(
      `${layer}: input feature ${bad % width} of token ${tokens + Math.floor(bad / width)} is ${x[bad]}: a layer before it overflows, or the calibration text is broken`,
    );
  };

  return {
    width,
    async update(batch, kernels) {
      if (batch.width !== width)
        throw new CalibrationError(`${layer}: its input has ${width} features, a batch has ${batch.width}`);
      if (!watching) refuseNotFinite(batch.x);
      for (const { statistic, state } of states.values()) {
        if (statistic.paired && !batch.reference) {
          throw new CalibrationError(
            `${layer}: statistic ${statistic.name} needs the unquantized model's inputs beside the quantized ones`,
          );
        }
        await statistic.update(state, batch, kernels);
      }
      if (watching && !watching.statistic.finite?.(watching.state)) {
        refuseNotFinite(batch.x);
        throw new CalibrationError(`${layer}: the squares of its inputs overflow: a layer before it gives huge values`);
      }
      tokens += batch.tokens;
    },
    merge(other) {
      for (const { statistic, state } of states.values()) statistic.merge(state, other.statistics.get(statistic));
      tokens += other.tokens;
    },
    get tokens() {
      return tokens;
    },
    statistics: {
      get<State>(statistic: Statistic<State>): State {
        const found = states.get(statistic.name);
        if (!found)
          throw new CalibrationError(
            `${layer}: statistic ${statistic.name} was not collected: name it in the method's needs`,
          );
        return found.state as State;
      },
      has: (statistic) => states.has(statistic.name),
    },
  };
}

/**
 * Index of the first NaN or infinity, -1 when there is none. Differences `x - x` are 0 for finite values alone; four sums of
 * them side by side decide the usual case without waiting for one another.
 */
function firstNotFinite(x: Float32Array): number {
  let [a, b, c, d] = [0, 0, 0, 0];
  let i = 0;
  for (; i + 4 <= x.length; i += 4) {
    a += x[i] - x[i];
    b += x[i + 1] - x[i + 1];
    c += x[i + 2] - x[i + 2];
    d += x[i + 3] - x[i + 3];
  }
  for (; i < x.length; i++) a += x[i] - x[i];
  return a + b + c + d === 0 ? -1 : x.findIndex((value) => !Number.isFinite(value));
}

/** What a data-free method is given. */
export const noStatistics: Statistics = {
  get(statistic) {
    throw new CalibrationError(`statistic ${statistic.name} was not collected: this run has no calibration data`);
  },
  has: () => false,
};
