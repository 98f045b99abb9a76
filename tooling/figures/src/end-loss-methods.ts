import type { Quantizer, Tuner } from '@q/core';
import { gptq, gptqEndLoss } from '@q/gptq';
import { gsq, qaft } from '@q/qat';

/** The methods that `print-end-loss` compares, by name. */
export const endLossMethods: Readonly<Record<string, () => { readonly quantizer: Quantizer; readonly tuner?: Tuner }>> =
  {
    gptq: () => ({ quantizer: gptq() }),
    'tokens 1': () => endLoss(1, 0),
    'tokens 0.5': () => endLoss(0.5, 0),
    'outputs 0.7': () => endLoss(0, 0.7),
    'outputs 0.95': () => endLoss(0, 0.95),
    'tokens 0.5 + outputs 0.7': () => endLoss(0.5, 0.7),
    'tokens 0.5 + outputs 0.95': () => endLoss(0.5, 0.95),
    'tokens 1 + outputs 0.7': () => endLoss(1, 0.7),
    'end loss': () => ({ quantizer: gptqEndLoss() }),
    gsq: () => ({ quantizer: gptq(), tuner: gsq() }),
    'end loss, gsq': () => ({ quantizer: gptqEndLoss(), tuner: gsq() }),
    'end loss, gsq against the teacher': () => ({ quantizer: gptqEndLoss(), tuner: gsq({ against: 'teacher' }) }),
    'end loss, qaft': () => ({ quantizer: gptqEndLoss(), tuner: qaft({ epochs: 8 }) }),
  };

const endLoss = (tokens: number, outputs: number) => ({
  quantizer: gptqEndLoss({ tokens, outputs }),
});
