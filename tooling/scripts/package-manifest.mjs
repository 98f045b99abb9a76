/** The fields that every manifest of a package has, for the generator of packages and for the house check. */

/** Fields that depend only on the name of the folder. */
export function derivedFields(name) {
  return {
    license: 'MIT',
    type: 'module',
    sideEffects: false,
    engines: { node: '>=20.19' },
    repository: { type: 'git', directory: `packages/${name}` },
  };
}

/** Keywords of every package. A package's own keywords come after them. */
export const sharedKeywords = ['quantization', 'language-models'];

/** The entries of a package: sources for this repository, `dist` for everybody else. */
export const published = {
  import: { types: './dist/index.d.ts', default: './dist/index.js' },
  require: { types: './dist/index.d.cts', default: './dist/index.cjs' },
};

/**
 * The missing or wrong fields of a manifest, in words.
 * @param {string} name of the folder
 * @param {Record<string, any>} manifest
 * @returns {string[]}
 */
export function manifestBreaches(name, manifest) {
  const breaches = [];
  for (const [key, expected] of Object.entries(derivedFields(name))) {
    if (JSON.stringify(manifest[key]) !== JSON.stringify(expected))
      breaches.push(
        `packages/${name}/package.json: ${key} is ${JSON.stringify(manifest[key])}, ${JSON.stringify(expected)} was expected`,
      );
  }
  const missing = sharedKeywords.filter((keyword) => !manifest.keywords?.includes(keyword));
  if (missing.length > 0 || manifest.keywords.length === sharedKeywords.length)
    breaches.push(
      `packages/${name}/package.json: keywords are ${JSON.stringify(manifest.keywords)}: ${sharedKeywords.join(', ')} and at least one of its own were expected`,
    );
  if (manifest.q?.kind !== undefined && manifest.q.kind !== 'method')
    breaches.push(
      `packages/${name}/package.json: q.kind is ${JSON.stringify(manifest.q.kind)}, only "method" is known`,
    );
  return breaches;
}
