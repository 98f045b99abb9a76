/** Names of the runtimes' files that `q convert` makes. */
export const conversionTargets = ['gguf', 'onnx'] as const;
