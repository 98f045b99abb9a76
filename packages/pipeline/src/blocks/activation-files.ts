/**
 * Names of the temporary files in the output folder that hold activations during a run: those of the model, and those
 * of the unquantized one.
 */
export const activationFiles = ['q-activations.tmp', 'q-activations-original.tmp'] as const;
