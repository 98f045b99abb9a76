import type { ModuleSensitivity, StudyMethod, StudyResult, WidthSummary } from '@q/study';
import type { Landscapes } from './scan-landscapes.js';

/** The contents of study.json. */
export interface StudyReport {
  readonly model: string;
  readonly data: string;
  readonly samples: number;
  readonly length: number;
  /** Held-out windows. */
  readonly heldOut: number;
  readonly quick: boolean;
  /** Loss of the unquantized model on the held-out windows, in nats per token. */
  readonly originalNll: number;
  readonly methods: readonly StudyMethod[];
  readonly summaries: readonly WidthSummary[];
  /** One or two sentences for each width. */
  readonly conclusions: readonly string[];
  /** At the lowest width. */
  readonly layers: readonly ModuleSensitivity[];
  readonly landscapes: Landscapes;
  readonly results: readonly StudyResult[];
}
