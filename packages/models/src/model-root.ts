/**
 * The prefix of a model's tensor names: usually `model.`, nothing in checkpoints of the model without its head,
 * `model.language_model.` if it is a part of a larger model.
 * @param tensorNames names in the checkpoint, if known
 * @param probe a tensor that every such model has and that is never quantized (`norm.weight`)
 * @param roots the possible prefixes, the usual one first; that one is also the result when nothing is known
 */
export function findRoot(
  tensorNames: ReadonlySet<string> | undefined,
  probe: string,
  roots: readonly string[] = decoderRoots,
): string {
  return roots.find((root) => tensorNames?.has(root + probe)) ?? roots[0]!;
}

const decoderRoots = ['model.', '', 'model.language_model.', 'language_model.model.', 'language_model.'];
