import {
  type ActivationBatch,
  allFinite,
  CalibrationError,
  type Kernels,
  noProfile,
  type Profile,
  type Statistic,
  type Statistics,
} from '@q/core';

/** Collects several statistics of one input side by side. */
export interface Collector {
  readonly width: number;
  /** @param profile is told how long each statistic takes */
  update(batch: ActivationBatch, kernels: Kernels, profile?: Profile): Promise<void>;
  /** All tokens that the unquantized model runs on are in; others follow. */
  endPaired(): void;
  /** Adds what another collector of the same statistics has seen. */
  merge(other: Collector): void;
  /** Tokens seen. */
  readonly tokens: number;
  readonly statistics: Statistics;
}

/** What another process has collected. */
export interface CollectedStates {
  readonly tokens: number;
  /** By name of the statistic. */
  readonly states: ReadonlyMap<string, unknown>;
}

/**
 * @param module named in messages
 * @param earlier states with which the collector begins. Default: empty ones
 */
export function createCollector(
  wanted: readonly Statistic<any>[],
  width: number,
  module: string,
  earlier?: CollectedStates,
): Collector {
  const states = new Map(
    wanted.map((statistic) => {
      const { name } = statistic;
      return [name, { statistic, state: earlier ? earlier.states.get(name) : statistic.create(width) }];
    }),
  );
  let tokens = earlier?.tokens ?? 0;
  // Reading all inputs once more costs as much as a twentieth of their Gram matrix: a statistic that shows it saves that.
  const watching = [...states.values()].find(({ statistic }) => statistic.finite);

  const refuseNotFinite = (x: Float32Array): void => {
    if (allFinite(x)) return;
    const bad = x.findIndex((value) => !Number.isFinite(value));
    throw new CalibrationError(
      `${module}: input feature ${bad % width} of token ${tokens + Math.floor(bad / width)} is ${x[bad]}: a linear before it overflows, or the calibration text is broken`,
    );
  };

  const statistics: Statistics = {
    get<State>(statistic: Statistic<State>): State {
      const found = states.get(statistic.name);
      if (!found)
        throw new CalibrationError(
          `${module}: statistic ${statistic.name} was not collected: name it in the method's needs`,
        );
      return found.state as State;
    },
    has: (statistic) => states.has(statistic.name),
  };

  return {
    width,
    endPaired() {
      for (const { statistic, state } of states.values()) statistic.endPaired?.(state, statistics);
    },
    async update(batch, kernels, profile = noProfile) {
      if (batch.width !== width)
        throw new CalibrationError(`${module}: its input has ${width} features, a batch has ${batch.width}`);
      if (!watching) refuseNotFinite(batch.x);
      for (const { statistic, state } of states.values()) {
        if (statistic.paired && batch.unpaired) continue;
        if (statistic.paired && !batch.reference) {
          throw new CalibrationError(
            `${module}: statistic ${statistic.name} needs the unquantized model's inputs beside the quantized ones`,
          );
        }
        await profile.stage(`statistic ${statistic.name}`, () => statistic.update(state, batch, kernels));
      }
      if (watching && !watching.statistic.finite?.(watching.state)) {
        refuseNotFinite(batch.x);
        throw new CalibrationError(
          `${module}: the squares of its inputs overflow: a linear before it gives huge values`,
        );
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
    statistics,
  };
}

/** What a data-free method is given. */
export const noStatistics: Statistics = {
  get(statistic) {
    throw new CalibrationError(`statistic ${statistic.name} was not collected: this run has no calibration data`);
  },
  has: () => false,
};
