import { join } from 'node:path';
import type { Command } from './measured-process.js';
import { findPeers, type PeerEnvironment, peerScripts, startPeer } from './peer-process.js';

/** llama.cpp's own quantizer. It keeps embeddings and output unquantized. */
export interface LlamaCpp {
  /**
   * Quantizes in a running process.
   * @param type `Q4_0` or `Q4_K`, for all linears
   */
  quantize(from: string, to: string, type: string): Promise<void>;
  /** The same, from the start of a process to its end. */
  command(from: string, to: string, type: string): Command;
  close(): void;
}

/**
 * Compiling llama.cpp for llama-cpp-python takes many minutes, so its environment is made by hand and only looked for
 * here.
 */
const llamaCppEnvironment: PeerEnvironment = {
  name: 'llama-cpp',
  requirements: join(peerScripts, 'llama-cpp.txt'),
};

export async function findLlamaCpp(threads: number): Promise<LlamaCpp | undefined> {
  const python = await findPeers(llamaCppEnvironment);
  if (!python) return undefined;
  const server = await startPeer(python, 'llama_quantize', threads);
  return {
    async quantize(from, to, type) {
      const { result } = (await server.ask({ from, to, type })) as { readonly result: number };
      if (result !== 0) throw new Error(`llama.cpp gave ${result}`);
    },
    command: (from, to, type) => ({
      file: python,
      args: [join(peerScripts, 'llama_quantize.py'), from, to, type, String(threads)],
    }),
    close: () => server.close(),
  };
}
