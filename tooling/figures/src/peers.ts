import { readFile } from 'node:fs/promises';

/** What another tool reached on a shared model with the same windows (reference/peers.json). */
export interface PeerLine {
  readonly model: string;
  readonly method: string;
  readonly bits: number;
  /** -1: per output channel. */
  readonly group: number;
  readonly perplexity: number;
  /** Nats a token. */
  readonly kl: number;
  readonly seconds: number;
}

export const peers: readonly PeerLine[] = JSON.parse(
  await readFile(new URL('../reference/peers.json', import.meta.url), 'utf8'),
);

/** The KL of one line, or nothing where that tool was not measured. */
export const peerKl = (method: string, model: string, bits: number, group: number): number | undefined =>
  peers.find((line) => line.method === method && line.model === model && line.bits === bits && line.group === group)
    ?.kl;
