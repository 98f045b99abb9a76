import type { ModuleOutcome, StageTime } from '@q/core';
import type { DivergenceVerdict, Evaluation } from '@q/eval';
import type { Budget, BudgetChoice } from '../plan/budget.js';
import type { RunRecord } from '../resume/run-record.js';
import type { ExpertRow } from './expert-coverage.js';

/** The result for one quantized linear. */
export interface ModuleRow {
  readonly module: string;
  /** The method that was applied. */
  readonly method: string;
  /** Whether it is the requested method; if not, which one was applied instead and why. */
  readonly outcome: ModuleOutcome;
  readonly scheme: string;
  readonly shape: readonly number[];
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  /** Calibration tokens seen; 0 for data-free methods. */
  readonly tokens: number;
  /**
   * `||X (T-Q)^T||^2 / ||X T^T||^2` on the calibration inputs; of the weights alone (X = I) for data-free methods. T is
   * the weight, or the method's target if it has another one: see `targetShift`.
   */
  readonly error: number;
  /** The same for the weight rounded to nearest with the range of the values. */
  readonly rtnError: number;
  /**
   * `||X (T-W)^T||^2 / ||X T^T||^2` if the method's target T is not the weight W, because it corrects the errors of
   * earlier layers. Round-to-nearest has at least about this error against T.
   */
  readonly targetShift?: number;
  readonly figures: Readonly<Record<string, number>>;
  readonly notes: readonly string[];
}

/** The result of a transform for one block. */
export interface TransformRow {
  readonly block: string;
  readonly transform: string;
  readonly figures: Readonly<Record<string, number>>;
  readonly notes: readonly string[];
}

/** The choices of a budget, with the alternatives. */
export interface BudgetReport {
  readonly asked: Budget;
  /** The method of finding sensitivities: `walk` ran the model for each, `one-pass` estimated them from gradients. */
  readonly found: 'walk' | 'one-pass';
  /** Number and length of the windows on which the sensitivities were measured. */
  readonly windows: number;
  readonly length: number;
  readonly choices: readonly BudgetChoice[];
  /** Sum of the chosen options' KL divergences, in nats per token, each with only its unit quantized. */
  readonly predictedKl: number;
}

/** The times of a run's stages, and the machine's peak rates. */
export interface RunProfile {
  readonly stages: readonly StageTime[];
  /** Seconds that belong to no stage. */
  readonly otherSeconds: number;
  /**
   * Operations a second of a product of two f32 matrices of 1024, the best of a few, by the kernels and by the engine.
   */
  readonly peak: { readonly kernels: number; readonly engine?: number };
}

/** The record of a run. It is written to q-report.json unchanged. */
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
  /** Calibration tokens of every expert, if the model has experts and the run was calibrated. */
  readonly experts?: readonly ExpertRow[];
  /** Present if the recipe had a budget. */
  readonly budget?: BudgetReport;
  /**
   * Evaluation before and after on the same held-out windows. Absent if there was no text for it (a note states this).
   */
  readonly evaluation?: {
    readonly text: string;
    readonly windows: number;
    readonly length: number;
    readonly before: Evaluation;
    readonly after: Evaluation;
    /** An assessment of the KL divergence. */
    readonly verdict: DivergenceVerdict;
  };
  /** Times of the stages, if they were requested. */
  readonly profile?: RunProfile;
  readonly notes: readonly string[];
  readonly files: readonly string[];
  /** Wall time of this process. A resumed run counts its own part only. */
  readonly seconds: number;
  readonly resumed: boolean;
  /** The run that this report describes. The same command finds here that everything is done. */
  readonly run?: RunRecord;
}
