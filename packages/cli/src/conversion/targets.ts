/** Names of the runtimes' files that `q convert` makes. */
export const conversionTargets = ['gguf'] as const;
