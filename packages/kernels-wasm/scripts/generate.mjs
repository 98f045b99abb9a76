// Every function that threads share the work of ends with (first, last, worker): one dispatcher serves them all.
/** Compiles `assembly/` twice (SIMD128; relaxed SIMD) and writes both modules, base64, to src/generated/modules.ts. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import asc from 'assemblyscript/asc';
import { packedProducts } from './packed-products.mjs';

/** Files of `assembly/` that are written here. */
const written = { 'assembly/packed-products.ts': packedProducts };
const root = fileURLToPath(new URL('..', import.meta.url));

/** The compiler asks for files that may not be there: it looks for a module in several places. */
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

const simd128 = await compile([]);
const relaxed = await compile(['relaxed-simd']);
mkdirSync(`${root}/src/generated`, { recursive: true });
writeFileSync(
  `${root}/src/generated/modules.ts`,
  `/** Made by scripts/generate.mjs from assembly/. */\nexport const simd128 =\n  '${simd128}';\nexport const relaxed =\n  '${relaxed}';\n`,
);
console.log(
  `simd128 ${Math.round((simd128.length * 3) / 4)} bytes, relaxed ${Math.round((relaxed.length * 3) / 4)} bytes`,
);
