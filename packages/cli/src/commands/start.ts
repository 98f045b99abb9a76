import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { CommandContext } from '../command.js';
import { quantizeCommand } from './quantize.js';

/** The demo model and texts of the package: next to `dist/`, or two levels up in the sources. */
const demo = ['../demo', '../../demo']
  .map((path) => fileURLToPath(new URL(path, import.meta.url)))
  .find((path) => existsSync(path)) as string;

/** `q start`: the main job on the embedded model, GPTQ to 4 bits. */
export async function startCommand(options: { readonly json?: boolean }, context: CommandContext): Promise<void> {
  context.terminal.note('Quantizing the embedded model with GPTQ to 4 bits …');
  await quantizeCommand(
    join(demo, 'model'),
    freeFolder('demo-quantized'),
    {
      method: 'gptq',
      bits: 4,
      group: 32,
      asym: true,
      calib: join(demo, 'text', 'calibration.txt'),
      samples: 64,
      length: 128,
      evalText: join(demo, 'text', 'held-out.txt'),
      windows: 32,
      json: options.json,
    },
    context,
  );
}

/** The name itself, or with the first number for which it is unused. */
function freeFolder(name: string): string {
  if (!existsSync(name)) return name;
  let number = 2;
  while (existsSync(`${name}-${number}`)) number++;
  return `${name}-${number}`;
}
