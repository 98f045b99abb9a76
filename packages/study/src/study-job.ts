/** One run of a study, as plain JSON: jobs may run on any machine, in any order. */
export interface StudyJob {
  /** Unique within a study, and valid as a file name: `gptq-4-64-s0-d0.01`. */
  readonly id: string;
  /** Name of a {@link StudyMethod}. */
  readonly method: string;
  readonly bits: number;
  /** Columns that share a scale; -1: one scale per output channel. */
  readonly group: number;
  readonly seed: number;
  /** Number of calibration or training windows. */
  readonly samples: number;
  /** Settings of this run that differ from the method's default: `{ damping: 0.1 }`, `{ rate: 1e-4 }`. */
  readonly setting: Readonly<Record<string, number | string>>;
}

export interface StudyResult {
  readonly job: StudyJob;
  /** Negative log likelihood on held-out windows, in nats per token. */
  readonly nll: number;
  /** KL divergence to the unquantized model on the same windows, in nats per token. */
  readonly kl: number;
  /** Bytes of the whole model. */
  readonly bytes: number;
  readonly seconds: number;
  /** Euclidean distance of the weights from the original ones. */
  readonly distance: number;
  /** Layer errors per token, summed over the linears; see `LayerErrors`. */
  readonly layerError: number;
  readonly weightedLayerError: number;
  /** Plain layer error by module. */
  readonly modules: Readonly<Record<string, number>>;
}

/** A method of a study. Jobs, tables and plots use its name. */
export interface StudyMethod {
  readonly name: string;
  /** `local`: minimises errors of layers or blocks. `global`: minimises the end loss. `none`: rounds only. */
  readonly objective: 'none' | 'local' | 'global';
  /** One plain sentence. */
  readonly about: string;
  /**
   * Settings that are tried. The setting with the lowest held-out loss is the method's result; all settings are points
   * of the correlation.
   */
  readonly settings: readonly Readonly<Record<string, number | string>>[];
  /** Settings of a quick study. Default: the first one. */
  readonly quickSettings?: readonly Readonly<Record<string, number | string>>[];
  /** Whether the method takes many steps of gradients. Its runs come after those of the other methods. */
  readonly trains: boolean;
  /** Whether the seed changes the result of the method. */
  readonly seeded: boolean;
}
