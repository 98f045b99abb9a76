import type { NamedScheme } from '../schemes/named-schemes.js';
import { schemes } from '../schemes/presets.js';

const { activations } = schemes;

/** Schemes of the inputs of linears that `--inputs` and recipes can name. */
export const inputSchemes: readonly NamedScheme[] = [
  { name: 'fp8-row', summary: 'E4M3, one scale a token', scheme: activations.fp8RowWise },
  { name: 'fp8-tensor', summary: 'E4M3, one scale for all tokens', scheme: activations.fp8TensorWise },
  { name: 'fp8-static', summary: 'E4M3, one calibrated scale', scheme: activations.fp8Static },
  { name: 'int8-row', summary: 'one scale a token', scheme: activations.int8PerToken },
  { name: 'int8-tensor', summary: 'one scale for all tokens', scheme: activations.int8PerTensor },
  { name: 'int8-static', summary: 'one calibrated scale', scheme: activations.int8Static },
];
