import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { cacheFolder, findTfjsNode, readyFile, tfjsNodeFolder } from './native-location.js';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'q-native-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** A folder with tfjs-node in its node_modules; what a failed installer leaves has no add-on. */
function project(name: string, content: { readonly addon: boolean; readonly ready?: boolean }): string {
  const folder = join(root, name);
  const pkg = join(folder, 'node_modules', '@tensorflow', 'tfjs-node');
  mkdirSync(content.addon ? join(pkg, 'lib', 'napi-v8') : pkg, { recursive: true });
  writeFileSync(join(pkg, 'package.json'), '{"name":"@tensorflow/tfjs-node","version":"4.22.0"}');
  if (content.addon) writeFileSync(join(pkg, 'lib', 'napi-v8', 'tfjs_binding.node'), '');
  if (content.ready) writeFileSync(join(folder, readyFile), '{}');
  return folder;
}

const requireFrom = (folder: string) => createRequire(join(folder, 'index.js'));

describe('the cache folder', () => {
  it('is what QUANT_CACHE names, else below XDG_CACHE_HOME, else below home', () => {
    expect(cacheFolder({ QUANT_CACHE: '/a', XDG_CACHE_HOME: '/b' })).toBe('/a');
    expect(cacheFolder({ XDG_CACHE_HOME: '/b' })).toBe(join('/b', 'q'));
    expect(cacheFolder({ QUANT_CACHE: '' })).toBe(join(homedir(), '.cache', 'q'));
    expect(tfjsNodeFolder('/a')).toBe(join('/a', 'engines', `tfjs-node-4.22.0-${process.platform}-${process.arch}`));
  });
});

describe('the search for tfjs-node', () => {
  it('takes the installed one before the one that was set up', () => {
    const [installed, setUp] = [project('a', { addon: true }), project('b', { addon: true, ready: true })];
    expect(findTfjsNode(requireFrom(installed), setUp)).toMatchObject({ found: { origin: 'installed' } });
    expect(findTfjsNode(requireFrom(root), setUp)).toMatchObject({
      found: { origin: 'set up', folder: join(setUp, 'node_modules', '@tensorflow', 'tfjs-node') },
    });
  });

  it('passes over an installed one without add-on', () => {
    const [installed, setUp] = [project('a', { addon: false }), project('b', { addon: true, ready: true })];
    expect(findTfjsNode(requireFrom(installed), setUp)).toMatchObject({ found: { origin: 'set up' } });
    const alone = findTfjsNode(requireFrom(installed), join(root, 'absent'));
    expect(alone).toMatchObject({ absent: expect.stringContaining('has no compiled add-on') });
  });

  it('does not take a set-up that was not finished', () => {
    const setUp = project('b', { addon: true });
    expect(findTfjsNode(requireFrom(root), setUp)).toMatchObject({ absent: expect.stringContaining('not installed') });
  });
});
