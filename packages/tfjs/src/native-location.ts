import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';

/** Version of tfjs-node that is set up: that of the other tfjs packages, whose registries it shares in a process. */
export const tfjsNodeVersion = '4.22.0';

const packageName = '@tensorflow/tfjs-node';

/** Written last into a set-up folder: a folder without it is not ready, whatever else it holds. */
export const readyFile = 'q-engine.json';

/**
 * Folder for what is downloaded or compiled once and used by every project: `QUANT_CACHE`, else `q` in `XDG_CACHE_HOME`,
 * else `~/.cache/q`.
 */
export function cacheFolder(environment: Readonly<Record<string, string | undefined>> = process.env): string {
  return environment['QUANT_CACHE'] || join(environment['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'q');
}

/**
 * Where `q engine setup tfjs-node` puts the native backend. The add-on speaks N-API 8, so one folder serves every
 * version of Node.
 */
export function tfjsNodeFolder(cache: string = cacheFolder()): string {
  return join(cache, 'engines', `tfjs-node-${tfjsNodeVersion}-${process.platform}-${process.arch}`);
}

/** One place that tfjs-node may be loaded from. */
export interface NativeLocation {
  /** `installed`: beside this package, by npm. `set up`: in the cache, by `q engine setup`. */
  readonly origin: 'installed' | 'set up';
  /** Folder of the package. */
  readonly folder: string;
  readonly require: NodeJS.Require;
}

/** Where tfjs-node is, or why it is in none of the places. */
export type NativeSearch = { readonly found: NativeLocation } | { readonly absent: string };

/**
 * Looks beside this package first, then in the cache. The npm package alone is not enough: its installer may have failed
 * to get the add-on, and then the next place is tried.
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

/** The add-on lies in a folder named after the N-API version that it was built for. */
function hasAddon(folder: string): boolean {
  const versions = existsSync(join(folder, 'lib')) ? readdirSync(join(folder, 'lib')) : [];
  return versions.some((version) => existsSync(join(folder, 'lib', version, 'tfjs_binding.node')));
}
