/** Names, in the output folder, of what waits there during a run: the states of the model, and of the unquantized one. */
export const activationFiles = ['q-activations.tmp', 'q-activations-original.tmp'] as const;
