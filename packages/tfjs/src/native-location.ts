import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';

/**
 * Version of tfjs-node that is set up. It is the version of the other tfjs packages: they share registries in a
 * process.
 */
export const tfjsNodeVersion = '4.22.0';

const packageName = '@tensorflow/tfjs-node';

/** Name of the file that a set-up writes last. A folder without this file is not ready, whatever else is in it. */
export const readyFile = 'q-engine.json';

/**
 * The folder for files that are downloaded or compiled once and that every project uses: `QUANT_CACHE`, else `q` in
 * `XDG_CACHE_HOME`, else `~/.cache/q`.
 */
export function cacheFolder(environment: Readonly<Record<string, string | undefined>> = process.env): string {
  return environment['QUANT_CACHE'] || join(environment['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'q');
}

/**
 * The folder in which `q engine setup tfjs-node` puts the native backend. The add-on uses N-API 8, so one folder serves
 * every version of Node.
 */
export function tfjsNodeFolder(cache: string = cacheFolder()): string {
  return join(cache, 'engines', `tfjs-node-${tfjsNodeVersion}-${process.platform}-${process.arch}`);
}

/** A location from which tfjs-node may be loaded. */
export interface NativeLocation {
  /** `installed`: next to this package, by npm. `set up`: in the cache, by `q engine setup`. */
  readonly origin: 'installed' | 'set up';
  /** Folder of the package. */
  readonly folder: string;
  readonly require: NodeJS.Require;
}

/** The location of tfjs-node, or the reason why no location has it. */
export type NativeSearch = { readonly found: NativeLocation } | { readonly absent: string };

/**
 * Looks for tfjs-node next to this package first, then in the cache. A package without its add-on does not count, since
 * the npm installer may have failed to download the add-on; the search then goes on in the cache.
 */
export function findTfjsNode(installed: NodeJS.Require, setUp: string = tfjsNodeFolder()): NativeSearch {
  const missing: string[] = [];
  const places = [{ origin: 'installed' as const, require: installed }];
  const cached = existsSync(join(setUp, readyFile)) ? createRequire(join(setUp, readyFile)) : undefined;
  for (const place of cached ? [...places, { origin: 'set up' as const, require: cached }] : places) {
    const folder = packageFolder(place.require);
    if (!folder) continue;
    if (hasAddon(folder)) return { found: { ...place, folder } };
    missing.push(folder);
  }
  return {
    absent:
      missing.length > 0
        ? `${missing.join(' and ')} has no compiled add-on (run: q engine setup tfjs-node)`
        : `${packageName} is not installed (to get it: q engine setup tfjs-node)`,
  };
}

function packageFolder(require: NodeJS.Require): string | undefined {
  try {
    return dirname(require.resolve(`${packageName}/package.json`));
  } catch {
    return undefined;
  }
}

/** The add-on is in a folder that is named after the N-API version for which it was built. */
function hasAddon(folder: string): boolean {
  const versions = existsSync(join(folder, 'lib')) ? readdirSync(join(folder, 'lib')) : [];
  return versions.some((version) => existsSync(join(folder, 'lib', version, 'tfjs_binding.node')));
}
