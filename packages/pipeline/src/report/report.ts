import type { ModuleOutcome, StageTime } from '@q/core';
import type { DivergenceVerdict, Evaluation } from '@q/eval';
import type { Budget, BudgetChoice } from '../plan/budget.js';
import type { RunRecord } from '../resume/run-record.js';
import type { ExpertRow } from './expert-coverage.js';

/** What happened to one quantized linear. */
export interface ModuleRow {
  readonly module: string;
  /** The method really applied. */
  readonly method: string;
  /** Whether that is the requested method; if not, what was applied instead and why. */
  readonly outcome: ModuleOutcome;
  readonly scheme: string;
  readonly shape: readonly number[];
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  /** Calibration tokens seen; 0 for data-free methods. */
  readonly tokens: number;
  /**
   * `||X (T-Q)^T||^2 / ||X T^T||^2` on the calibration inputs, of the weights alone (X = I) for data-free methods. T is the
   * weight, or what the method aimed at instead of it: see `targetShift`.
   */
  readonly error: number;
  /** The same for the weight rounded to nearest with the range of the values. */
  readonly rtnError: number;
  /**
   * `||X (T-W)^T||^2 / ||X T^T||^2` where the method aimed at another target T than the weight W, to make up for the errors
   * of earlier layers. Round-to-nearest has at least about this error against T.
   */
  readonly targetShift?: number;
  readonly figures: Readonly<Record<string, number>>;
  readonly notes: readonly string[];
}

/** What a transform did to one block. */
export interface TransformRow {
  readonly block: string;
  readonly transform: string;
  readonly figures: Readonly<Record<string, number>>;
  readonly notes: readonly string[];
}

/** What a budget chose, and from what. */
export interface BudgetReport {
  readonly asked: Budget;
  /** How sensitivities were found: `walk` ran the model for each, `one-pass` estimated them from gradients. */
  readonly found: 'walk' | 'one-pass';
  /** Windows that the sensitivities were measured on, and their length. */
  readonly windows: number;
  readonly length: number;
  readonly choices: readonly BudgetChoice[];
  /** Sum of the chosen options' KL divergences, in nats per token: each with its unit alone quantized. */
  readonly predictedKl: number;
}

/** The stages of a run and what the machine could do. */
export interface RunProfile {
  readonly stages: readonly StageTime[];
  /** Seconds that no stage claims. */
  readonly otherSeconds: number;
  /** Operations a second of a product of two f32 matrices of 1024, the best of a few: by the kernels, by the engine. */
  readonly peak: { readonly kernels: number; readonly engine?: number };
}

/** The record of a run; goes to q-report.json as it is. */
export interface RunReport {
  readonly source: string;
  readonly out: string;
  readonly recipe: Record<string, unknown>;
  readonly calibration?: { readonly name: string; readonly samples: number; readonly length: number };
  readonly environment: Readonly<Record<string, string>>;
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  readonly bitsPerWeight: number;
  readonly layers: readonly ModuleRow[];
  readonly transforms: readonly TransformRow[];
  /** Calibration tokens of every expert, when the model has experts and the run was calibrated. */
  readonly experts?: readonly ExpertRow[];
  /** When the recipe had a budget. */
  readonly budget?: BudgetReport;
  /** Before and after on the same held-out windows; absent when there was no text for it (a note says so). */
  readonly evaluation?: {
    readonly text: string;
    readonly windows: number;
    readonly length: number;
    readonly before: Evaluation;
    readonly after: Evaluation;
    /** What the KL divergence means. */
    readonly verdict: DivergenceVerdict;
  };
  /** Where the time went, when that was asked for. */
  readonly profile?: RunProfile;
  readonly notes: readonly string[];
  readonly files: readonly string[];
  /** Wall time of this process; a resumed run counts its own part only. */
  readonly seconds: number;
  readonly resumed: boolean;
  /** Which run this is of: the same command finds here that all is done. */
  readonly run?: RunRecord;
}
