import { readFile } from 'node:fs/promises';

/** The result of another tool on a shared model with the same windows (reference/peers.json). */
export interface PeerLine {
  readonly model: string;
  readonly method: string;
  readonly bits: number;
  /** -1: one scale per output channel. */
  readonly group: number;
  readonly perplexity: number;
  /** KL divergence in nats per token. */
  readonly kl: number;
  readonly seconds: number;
}

export const peers: readonly PeerLine[] = JSON.parse(
  await readFile(new URL('../reference/peers.json', import.meta.url), 'utf8'),
);

/** The KL of one line; undefined if the tool was not measured there. */
export const peerKl = (method: string, model: string, bits: number, group: number): number | undefined =>
  peers.find((line) => line.method === method && line.model === model && line.bits === bits && line.group === group)
    ?.kl;
