import { readdir, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** What lies in a model folder beside the weights that are read. Names are relative to it, with `/`, in order. */
export interface FolderListing {
  /** Files that belong to the model: tokenizer, generation config, and those of its own folders (`1_Pooling/config.json`). */
  readonly others: readonly string[];
  /** Weight files, read or not, and their indices. */
  readonly weights: readonly string[];
  /**
   * Entries that are neither read nor copied: folders with weights of their own (`onnx/`), links that lead nowhere or to a
   * folder, what is no file, and names that are no UTF-8.
   */
  readonly left: readonly string[];
}

const weightFile =
  /\.(safetensors|safetensors\.index\.json|bin|pt|pth|gguf|onnx|onnx_data|h5|msgpack|ot|tflite|mlmodel)$|\.bin\.index\.json$/i;

/**
 * Lists a model folder. Links to files are files: the cache of Hugging Face's hub keeps each file behind one. Names with a
 * leading dot are none of the model's.
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
    // Node shows a name that is no UTF-8 with this mark, and finds no file by what it shows.
    if (entry.name.includes('\ufffd') && !(await stat(join(root, name)).catch(() => undefined))) {
      listing.left.push(name);
      continue;
    }
    const kind = entry.isSymbolicLink() ? await stat(join(root, name)).catch(() => undefined) : entry;
    // A folder behind a link may be anywhere, and anything: it is named and not followed.
    if (entry.isDirectory()) await list(root, `${name}/`, listing, new Set([...above, real]));
    else if (!kind?.isFile()) listing.left.push(name);
    else if (weightFile.test(entry.name)) listing.weights.push(name);
    else if (name !== 'config.json') listing.others.push(name);
  }
}
