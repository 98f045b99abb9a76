/**
 * Words that docs/writing.md asks not to write, with the word to write instead. They are looked for in comments of sources and
 * in the pages; names of identifiers count too, since a reader meets them as words.
 */
const words = [
  [/\bbreath(?:es?|ing)\b/i, 'yield to the event loop'],
  [/\bshel(?:f|ves)\b/i, 'store, buffer'],
  [/\bforetold\b/i, 'predicted'],
  [/\bin place of\b/i, 'instead of'],
  [/\bwhat came of\b/i, 'result of'],
  [/\bquiet hour\b/i, 'idle machine'],
  [/\bthe wish was\b/i, 'target:'],
  [/\bflatters?\b/i, 'is lower than'],
];
/** Texts for models: their words are content. */
const content = /default-text\/|testing\/|\.test\.ts$|docs\/writing\.md$|plain-words\.mjs$|docs\/reference\//;

/** A breach for each forbidden word of a text. */
export function wordBreaches(shown, text) {
  if (content.test(shown)) return [];
  return text
    .split('\n')
    .flatMap((line, index) =>
      words
        .filter(([pattern]) => pattern.test(line))
        .map(
          ([pattern, better]) =>
            `${shown}:${index + 1}: "${pattern.exec(line)[0]}": write "${better}" (docs/writing.md)`,
        ),
    );
}
