/** What every manifest of a package has, for the generator of packages and for the check of the house. */

/** Fields that follow from the name of the folder alone. */
export function derivedFields(name) {
  return {
    license: 'MIT',
    type: 'module',
    sideEffects: false,
    engines: { node: '>=20.19' },
    repository: { type: 'git', directory: `packages/${name}` },
  };
}

/** Keywords that every package has; those of its own come after them. */
export const sharedKeywords = ['quantization', 'language-models'];

/** The entries of a package: sources for this repository, `dist` for everybody else. */
export const published = {
  import: { types: './dist/index.d.ts', default: './dist/index.js' },
  require: { types: './dist/index.d.cts', default: './dist/index.cjs' },
};

/**
 * What a manifest lacks, in words.
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
