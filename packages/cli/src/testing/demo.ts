import { fileURLToPath } from 'node:url';

const folder = fileURLToPath(new URL('../../demo', import.meta.url));

/** The embedded model and its texts. */
export const demo = {
  model: `${folder}/model`,
  calibration: `${folder}/text/calibration.txt`,
  heldOut: `${folder}/text/held-out.txt`,
};
