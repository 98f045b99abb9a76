/**
 * The size of an import in a bundle: minified bytes of one name of a package, without unused code. Each import has a
 * limit, and each must bundle for a browser, without Node's modules. `pnpm lint` compares.
 */
import { join } from 'node:path';
import { build } from 'esbuild';

/** Names, the packages that export them, and their most bytes. */
export const bundles = [
  { names: 'int4', from: '@q/core', most: 1_000 },
  { names: 'quantize, dequantize, schemes', from: '@q/core', most: 21_000 },
  { names: 'gptq', from: '@q/gptq', most: 35_000 },
  { names: 'rtn', from: '@q/rtn', most: 21_000 },
  { names: 'fromUrl, readHeader, readTensor', from: '@q/safetensors/read', most: 15_000 },
  { names: 'readGgufHeader, readGgufTensor', from: '@q/gguf/read', most: 30_000 },
];

/**
 * Minified bytes of a module that uses the names.
 * @param {string} root of the repository, or of another state of it: workspace packages are found below `packages`
 */
export async function bundleSize(root, { names, from }) {
  const { outputFiles } = await build({
    stdin: { contents: `import { ${names} } from '${from}'; globalThis.used = [${names}];`, resolveDir: root },
    ...{ bundle: true, minify: true, format: 'esm', platform: 'browser', write: false, logLevel: 'silent' },
    plugins: [
      { name: 'sources', setup: (setup) => setup.onResolve({ filter: /^@q\// }, ({ path }) => sourceOf(root, path)) },
    ],
  });
  return outputFiles[0].contents.byteLength;
}

/** The source of an entry of a workspace package: `index.ts`, or the file of the subpath's name. */
function sourceOf(root, specifier) {
  const [, name, ...entry] = specifier.split('/');
  return { path: join(root, 'packages', name, 'src', `${entry.join('/') || 'index'}.ts`), sideEffects: false };
}

/** A line for each import that is too large, or does not bundle for a browser. */
export async function bundleBreaches(root) {
  const breaches = [];
  for (const { most, ...what } of bundles) {
    const label = `import { ${what.names} } from '${what.from}'`;
    try {
      const size = await bundleSize(root, what);
      if (size > most) breaches.push(`${label} bundles ${size} bytes, at most ${most} were expected`);
    } catch (error) {
      breaches.push(`${label} does not bundle for a browser: ${error.errors?.[0]?.text ?? error.message}`);
    }
  }
  return breaches;
}
