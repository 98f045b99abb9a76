import type { FileSettings } from '../file-settings.js';

/**
 * A file's settings of rotary positions, as `rope_theta` and `rope_scaling` of a config.
 * @param size values of a head
 */
export function storedRope(file: FileSettings, size: number): Record<string, unknown> {
  const theta = file.number('rope.freq_base', 10000);
  const rotated = file.number('rope.dimension_count', size);
  if (rotated !== size)
    file.refuse('rope.dimension_count', `all ${size} values of a head are rotated in models of this family`);
  const scaling = storedScaling(file, size, theta);
  return { rope_theta: theta, ...(scaling ? { rope_scaling: scaling } : {}) };
}

function storedScaling(file: FileSettings, size: number, theta: number): Record<string, unknown> | undefined {
  const divisors = file.vector('rope_freqs.weight');
  if (divisors) return llama3Scaling(file, divisors, size, theta);
  const type = file.text('rope.scaling.type', file.has('rope.scale_linear') ? 'linear' : 'none');
  if (type === 'none') return undefined;
  if (type === 'linear') {
    const factor = file.number('rope.scaling.factor', file.number('rope.scale_linear', 1));
    return factor === 1 || factor === 0 ? undefined : { rope_type: 'linear', factor };
  }
  if (type !== 'yarn') file.refuse('rope.scaling.type', 'none, linear and yarn are read');
  const optional = [
    ['attn_factor', 'attention_factor'],
    ['yarn_beta_fast', 'beta_fast'],
    ['yarn_beta_slow', 'beta_slow'],
  ].flatMap(([from, to]) => (file.has(`rope.scaling.${from}`) ? [[to, file.number(`rope.scaling.${from}`)]] : []));
  return {
    rope_type: 'yarn',
    factor: file.number('rope.scaling.factor'),
    original_max_position_embeddings: file.number('rope.scaling.original_context_length'),
    ...Object.fromEntries(optional),
  };
}

/** Limits between which frequencies change gradually; all published models have these. */
const [low, high] = [1, 4];

/**
 * Llama 3.1's scaling, from the divisors of frequencies in the file: the largest divisor is the factor, and those
 * between it and 1 give the length of the original context.
 */
function llama3Scaling(file: FileSettings, divisors: Float32Array, size: number, theta: number) {
  const factor = Math.max(...divisors);
  if (factor === 1) return undefined;
  const wavelength = (k: number) => 2 * Math.PI * theta ** ((2 * k) / size);
  const contexts = [...divisors].flatMap((divisor, k) => {
    if (divisor === 1 || divisor === factor) return [];
    const smooth = (1 / divisor - 1 / factor) / (1 - 1 / factor);
    return [wavelength(k) * (smooth * (high - low) + low)];
  });
  const context = 2 ** Math.round(Math.log2(contexts[0] ?? Number.NaN));
  if (!contexts.every((each) => Math.abs(each / context - 1) < 1e-3) || contexts.length === 0)
    return file.refuse('rope.freq_base', `rope_freqs.weight divides frequencies in a way that is not Llama 3's`);
  return {
    ...{ rope_type: 'llama3', factor, low_freq_factor: low, high_freq_factor: high },
    original_max_position_embeddings: context,
  };
}
