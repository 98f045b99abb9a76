import { join } from 'node:path';
import type { BudgetReport } from '@q/pipeline';
import { describe, expect, it } from 'vitest';
import { runCommand } from './testing/run-command.js';

const shared = process.env.QUANT_SHARED;
if (!shared) console.log('sensitivities of trained tables are not checked: QUANT_SHARED is not set');

describe.skipIf(!shared)('sensitivities of a trained table, alone quantized', () => {
  it.each([['gpt2-3m', ['transformer.wte']]])('of %s are estimated as the walk measures them', async (name, units) => {
    const model = join(shared as string, 'models', name);
    const found = async (sensitivities: string) => {
      const { out, err } = await runCommand([
        ...['plan', model, '--keep', '*.0.*', '*.1.*', '*.2.*', '*.3.*', '--embeddings', 'auto', '--head', 'auto'],
        ...['--max-bytes', '20MB', '--candidate-bits', '2,3,4,8', '--group', '64', '--engine', 'wasm', '--json'],
        ...['--calib', join(model, 'calib-128x256.u16'), '--samples', '8', '--sensitivities', sensitivities],
      ]);
      const { budget } = JSON.parse(out || err) as { budget: BudgetReport };
      expect(budget.choices.map(({ unit }) => unit)).toEqual(units);
      return budget.choices.map(({ options }) => options.filter(({ scheme }) => scheme !== 'kept').map(({ kl }) => kl));
    };
    const [estimated, measured] = [await found('one-pass'), await found('walk')];
    for (const [unit, exact] of measured.entries()) {
      expect([...estimated[unit]].sort((a, b) => b - a)).toEqual(estimated[unit]);
      for (const [i, kl] of exact.entries()) {
        const ratio = estimated[unit][i] / kl;
        const words = `${units[unit]} ${i}: ${estimated[unit]} ${exact}`;
        expect(ratio, words).toBeGreaterThan(0.5);
        expect(ratio, words).toBeLessThan(2);
      }
    }
  });
});
