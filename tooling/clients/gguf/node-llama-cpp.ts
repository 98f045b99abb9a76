import { pathToFileURL } from 'node:url';

/** The used part of node-llama-cpp, which is installed outside of the workspace. */
export interface Llama {
  loadModel(options: { modelPath: string }): Promise<LlamaModel>;
  dispose(): Promise<void>;
}

interface Wanted {
  readonly generateNext: { readonly probabilities?: true; readonly logits?: true };
}

export interface LlamaModel {
  tokenize(text: string, special?: boolean): number[];
  createContext(options: { contextSize: number }): Promise<LlamaContext>;
  createEmbeddingContext(options: { contextSize: number }): Promise<LlamaEmbeddingContext>;
  dispose(): Promise<void>;
}

interface LlamaContext {
  getSequence(): {
    controlledEvaluate(input: readonly (number | [token: number, options: Wanted])[]): Promise<
      {
        readonly next: {
          readonly probabilities: ReadonlyMap<number, number>;
          readonly logits: ReadonlyMap<number, number>;
        };
      }[]
    >;
  };
  dispose(): Promise<void>;
}

interface LlamaEmbeddingContext {
  /** Tokens that begin and end a text are added if they are absent. */
  getEmbeddingFor(input: readonly number[] | string): Promise<{ readonly vector: readonly number[] }>;
  calculateInputLength(input: readonly number[]): number;
  dispose(): Promise<void>;
}

/**
 * Starts llama.cpp on the processor, in the build of the package.
 * @param module path of node-llama-cpp's `dist/index.js`
 */
export async function startLlama(module: string): Promise<Llama> {
  const { getLlama, LlamaLogLevel } = await import(pathToFileURL(module).href);
  return getLlama({ build: 'never', gpu: false, logLevel: LlamaLogLevel.error });
}
