/**
 * `pnpm figures:logits [wasm|cpu|node]` compares forward passes of the shared models with PyTorch's. It needs
 * QUANT_SHARED.
 */
import { type BackendChoice, createEngine } from '@q/tfjs';
import { measureReferenceFigures, sharedModels } from './reference-figures.js';
import { sharedFolder } from './shared-model.js';

const engine = await createEngine({ backend: (process.argv[2] ?? 'auto') as BackendChoice });
console.log(`engine ${engine.name} (${engine.notes.join('; ')})`);
const rows: Record<string, Record<string, string | number>> = {};
for (const name of sharedModels) {
  const folder = sharedFolder('models', name);
  if (!folder) continue;
  const figures = await measureReferenceFigures(engine, folder);
  const { reference } = figures;
  const agreeing = figures.greedyTokens.filter((token, i) => token === reference.greedyTokens[i]).length;
  rows[name] = {
    'max |logits - reference|': figures.logitsDifference.toExponential(1),
    'hidden norms, rel.': figures.hiddenNormDifference.toExponential(1),
    perplexity: figures.perplexity.toFixed(5),
    reference: reference.perplexity.toFixed(5),
    'difference, %': ((figures.perplexity / reference.perplexity - 1) * 100).toFixed(6),
    'greedy tokens equal': `${agreeing} of ${reference.greedyTokens.length}`,
    'tokens/s': Math.round(figures.tokensPerSecond),
  };
}
console.table(rows);
await engine.dispose();
