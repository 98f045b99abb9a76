import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { ownCommand } from './whole-run.js';

/** What `q eval` says of a folder. */
export interface FolderScore {
  /** Mean KL divergence to the original, nats a token. */
  readonly kl: number;
  readonly perplexity: number;
  /** Share of tokens for which both models prefer the same next token. */
  readonly topAgreement: number;
}

/**
 * Scores a quantized folder of any tool with the built `q eval`.
 * @param model folder of the original
 * @param heldOut file of token ids
 * @param engine name of the engine; by default the fastest one that is set up
 * @throws Error with the messages of the command when it fails
 */
export async function scoreFolder(
  folder: string,
  model: string,
  heldOut: string,
  engine = 'auto',
): Promise<FolderScore> {
  const compared = ['--against', model, '--text', heldOut, '--engine', engine, '--json'];
  const { file, args } = ownCommand('eval', folder, ...compared);
  const { stdout } = await promisify(execFile)(file, args, { maxBuffer: 1 << 26 });
  return JSON.parse(stdout) as FolderScore;
}
