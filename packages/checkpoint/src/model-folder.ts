import { readdir, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** The files of a model folder except the weights that are read. Names are relative to it, with `/`, in order. */
export interface FolderListing {
  /**
   * Files that belong to the model: tokenizer, generation config, and those in its own folders
   * (`1_Pooling/config.json`).
   */
  readonly others: readonly string[];
  /** Weight files, read or not, and their indices. */
  readonly weights: readonly string[];
  /**
   * Entries that are neither read nor copied: folders with weights of their own (`onnx/`), links to nothing or to a
   * folder, entries that are not files, and names that are not UTF-8.
   */
  readonly left: readonly string[];
}

const weightFile =
  /\.(safetensors|safetensors\.index\.json|bin|pt|pth|gguf|onnx|onnx_data|h5|msgpack|ot|tflite|mlmodel)$|\.bin\.index\.json$/i;

/**
 * Lists a model folder. Links to files count as files, since the cache of Hugging Face's hub stores each file behind a
 * link. Names with a leading dot are ignored.
 */
export async function listModelFolder(path: string): Promise<FolderListing> {
  const listing = { others: [] as string[], weights: [] as string[], left: [] as string[] };
  await list(path, '', listing, new Set());
  for (const names of Object.values(listing)) names.sort();
  return listing;
}

async function list(
  root: string,
  below: string,
  listing: { others: string[]; weights: string[]; left: string[] },
  above: ReadonlySet<string>,
): Promise<void> {
  const folder = join(root, below);
  const real = await realpath(folder);
  if (above.has(real)) return;
  const entries = await readdir(folder, { withFileTypes: true });
  if (below !== '' && entries.some(({ name }) => weightFile.test(name) || name.endsWith('.partial'))) {
    listing.left.push(below);
    return;
  }
  for (const entry of entries) {
    if (entry.name.startsWith('.')) continue;
    const name = `${below}${entry.name}`;
    // Node replaces a name that is not UTF-8 by text with this mark, and finds no file with that text.
    if (entry.name.includes('\ufffd') && !(await stat(join(root, name)).catch(() => undefined))) {
      listing.left.push(name);
      continue;
    }
    const kind = entry.isSymbolicLink() ? await stat(join(root, name)).catch(() => undefined) : entry;
    // A link to a folder may lead anywhere: it is named and not followed.
    if (entry.isDirectory()) await list(root, `${name}/`, listing, new Set([...above, real]));
    else if (!kind?.isFile()) listing.left.push(name);
    else if (weightFile.test(entry.name)) listing.weights.push(name);
    else if (name !== 'config.json') listing.others.push(name);
  }
}
