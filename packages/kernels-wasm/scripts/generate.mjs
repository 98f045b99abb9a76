/**
 * Compiles `assembly/` twice (SIMD128; relaxed SIMD) and writes both modules, base64, to src/generated/modules.ts,
 * which is not under version control. The file begins with a hash of its sources, so a second run with the same sources
 * compiles nothing. The installation (`prepare`), the build and `pnpm q` run this.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import asc from 'assemblyscript/asc';
import { packedProducts } from './packed-products.mjs';

/** Files of `assembly/` that this script writes. */
const written = { 'assembly/packed-products.ts': packedProducts };
const root = fileURLToPath(new URL('..', import.meta.url));

/** The compiler tries to read files that may not exist, because it looks for a module in several folders. */
function read(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}

async function compile(features) {
  let binary;
  const { error, stderr } = await asc.main(
    [
      'assembly/index.ts',
      '--outFile',
      'module.wasm',
      '--baseDir',
      root,
      '--runtime',
      'stub',
      '--optimizeLevel',
      '3',
      '--shrinkLevel',
      '0',
      '--noAssert',
      '--importMemory',
      '--sharedMemory',
      '--initialMemory',
      '16',
      '--maximumMemory',
      '65536',
      '--memoryBase',
      '4096',
      '--use',
      'abort=',
      '--disable',
      'mutable-globals',
      '--enable',
      'threads',
      '--enable',
      'simd',
      ...features.flatMap((feature) => ['--enable', feature]),
    ],
    {
      readFile: (name, baseDir) => written[name] ?? read(join(baseDir, name)),
      writeFile: (name, content) => {
        if (name.endsWith('.wasm')) binary = content;
      },
    },
  );
  if (error) {
    console.error(stderr.toString());
    throw error;
  }
  return Buffer.from(binary).toString('base64');
}

/** A hash of everything that the modules are made from. */
function sourceHash() {
  const hash = createHash('sha256').update(asc.version);
  for (const folder of ['assembly', 'scripts'])
    for (const name of readdirSync(join(root, folder), { recursive: true }).sort()) {
      const text = /\.(ts|mjs)$/.test(name) ? read(join(root, folder, name)) : null;
      // A checkout may have other line endings. The modules are the same.
      if (text !== null) hash.update(`${folder}/${name.replaceAll('\\', '/')}\0${text.replaceAll('\r\n', '\n')}\0`);
    }
  return hash.digest('hex');
}

const target = join(root, 'src', 'generated', 'modules.ts');
const heading = `/** Made by scripts/generate.mjs from assembly/ (${sourceHash()}). */`;
if (read(target)?.startsWith(heading)) {
  // `pnpm q` compares times, so the file must be as new as its sources.
  utimesSync(target, new Date(), new Date());
} else {
  const simd128 = await compile([]);
  const relaxed = await compile(['relaxed-simd']);
  mkdirSync(join(root, 'src', 'generated'), { recursive: true });
  writeFileSync(
    target,
    `${heading}\nexport const simd128 =\n  '${simd128}';\nexport const relaxed =\n  '${relaxed}';\n`,
  );
  const bytes = (base64) => Math.round((base64.length * 3) / 4);
  console.error(`simd128 ${bytes(simd128)} bytes, relaxed ${bytes(relaxed)} bytes`);
}
