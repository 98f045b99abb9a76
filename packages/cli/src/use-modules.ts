import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { extendVocabulary, type Vocabulary } from '@q/pipeline';
import { readRecipeFile } from './recipe-flags.js';
import { UsageError } from './usage-error.js';

/** A module that `--use` or a recipe names, and the folder for its path. */
interface Request {
  readonly name: string;
  readonly from: string;
}

/**
 * The vocabulary with the parts of the modules of `--use` and of the recipe's `use`. They are read from the command
 * line before it is parsed, because they add flags.
 * @throws UsageError naming the module that cannot be found or loaded
 */
export async function useModules(argv: readonly string[], vocabulary: Vocabulary): Promise<Vocabulary> {
  let all = vocabulary;
  const done = new Set<string>();
  for (const request of await requests(argv)) {
    const file = await findModule(request);
    if (done.has(file)) continue;
    done.add(file);
    const loaded = await import(pathToFileURL(file).href).catch((error: Error) => {
      throw new UsageError(`--use ${request.name}: ${file} cannot be loaded: ${error.message}`);
    });
    const identity = await identify(file);
    all = extendVocabulary(all, loaded.plugin ?? loaded.default?.plugin, { module: request.name, identity });
  }
  return all;
}

async function requests(argv: readonly string[]): Promise<readonly Request[]> {
  const found: Request[] = valuesOf(argv, '--use').map((name) => ({ name, from: process.cwd() }));
  for (const path of valuesOf(argv, '--recipe')) {
    // The command itself refuses an unreadable recipe: another flag may be wrong before it.
    const recipe = await readRecipeFile(path).catch(() => undefined);
    const use = (recipe as { use?: unknown } | undefined)?.use;
    const names = Array.isArray(use) ? use.filter((name) => typeof name === 'string') : [];
    found.push(...names.map((name) => ({ name, from: resolve(dirname(path)) })));
  }
  return found;
}

/** `--use a --use=b` -> a, b */
function valuesOf(argv: readonly string[], flag: string): string[] {
  return argv.flatMap((word, index) => {
    if (word.startsWith(`${flag}=`)) return [word.slice(flag.length + 1)];
    return word === flag && argv[index + 1] !== undefined ? [argv[index + 1]] : [];
  });
}

async function findModule({ name, from }: Request): Promise<string> {
  if (/^\.{1,2}[/\\]/.test(name) || isAbsolute(name)) {
    const file = resolve(from, name);
    if (!existsSync(file)) throw new UsageError(`--use ${name}: ${file} does not exist`);
    return existsSync(join(file, 'package.json')) ? entryOf(file, name) : file;
  }
  const folder = packageFolder(name, from);
  if (folder) return entryOf(folder, name);
  try {
    return createRequire(join(from, 'package.json')).resolve(name);
  } catch {
    throw new UsageError(
      `--use ${name}: is not installed in ${from} or above it; install it there, or give a path that begins with ./`,
    );
  }
}

/** The nearest `node_modules/NAME` from a folder upwards. */
function packageFolder(name: string, from: string): string | undefined {
  for (let folder = from; ; folder = dirname(folder)) {
    const found = join(folder, 'node_modules', name);
    if (existsSync(join(found, 'package.json'))) return found;
    if (dirname(folder) === folder) return undefined;
  }
}

type Exports = string | { readonly [key: string]: Exports } | undefined;

/** The file of a package's main entry, for `import`. */
async function entryOf(folder: string, name: string): Promise<string> {
  const manifest = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'));
  const main: Exports = manifest.exports?.['.'] ?? manifest.exports ?? manifest.module ?? manifest.main ?? 'index.js';
  const pick = (entry: Exports): string | undefined =>
    typeof entry === 'object' ? (pick(entry.import) ?? pick(entry.node) ?? pick(entry.default)) : entry;
  const file = join(folder, pick(main) ?? 'index.js');
  if (!existsSync(file)) throw new UsageError(`--use ${name}: its entry ${file} does not exist; was it built?`);
  return file;
}

/** The version of the module's package, if it has one, and a hash of its file: other code may compute other bytes. */
async function identify(file: string): Promise<string> {
  const hash = createHash('sha256')
    .update(await readFile(file))
    .digest('hex');
  for (let folder = dirname(file); dirname(folder) !== folder; folder = dirname(folder)) {
    const manifest = await readFile(join(folder, 'package.json'), 'utf8').catch(() => undefined);
    if (manifest === undefined) continue;
    const { name, version } = JSON.parse(manifest);
    return name && version ? `${name}@${version} ${hash}` : hash;
  }
  return hash;
}
