/**
 * `pnpm figures:stories` prints the perplexity of stories260K, converted from its llama2.c container. It needs
 * QUANT_SHARED.
 */
import { createEngine } from '@q/tfjs';
import { sharedFolder } from './shared-model.js';
import { measureStories, readStories, storiesReference, withConverted } from './stories.js';

const data = sharedFolder('data');
if (data) {
  const engine = await createEngine();
  const stories = await readStories(data);
  const { perplexity, tokens } = await withConverted(data, (folder) => measureStories(engine, folder, stories));
  console.table({
    stories260K: {
      stories: stories.length,
      tokens,
      perplexity: perplexity.toFixed(4),
      reference: storiesReference.perplexity,
      engine: engine.name,
    },
  });
  await engine.dispose();
}
