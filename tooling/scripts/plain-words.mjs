/**
 * The words that docs/writing.md refuses, each with a better one. This is the only list of them. `everywhere` is looked
 * for in whole files, since a reader meets names of identifiers as words. `inProse` is looked for in comments and in
 * Markdown outside of code, since these words also have a technical meaning as names.
 */
const everywhere = [
  [/\bbreath(?:es?|ing)\b/i, 'yield to the event loop'],
  [/\bshel(?:f|ves)\b/i, 'store, buffer'],
  [/\bforet(?:old|ells?)\b/i, 'predicted'],
  [/\bin place of\b/i, 'instead of'],
  [/\bwhat (?:came|comes) of\b/i, 'result of'],
  [/\bquiet hour\b/i, 'idle machine'],
  [/\b(?:the wish was|was the wish)\b/i, 'target:'],
  [/\bflatters?\b/i, 'is lower than'],
  [/\bfavou?rs us\b/i, 'our ratio is better'],
];
const inProse = [
  [/\brooms?\b/i, 'memory, space, package'],
  [/\bstretch(?:es)?\b/i, 'chunk, part'],
  [/\bguests?\b/i, 'process, plugin'],
  [/\b(?:held|holds?) (?:\w+ )?against\b/i, 'compared with, checked against'],
  [/\bbeside\b/i, 'next to, compared with, in addition to'],
  [/\banew\b/i, 'again, a new one'],
  [/\basked for\b/i, 'requested'],
  [/\btold apart\b/i, 'distinguished'],
];
/** Texts for models are content. Tests describe cases in their own words. docs/writing.md names the words. */
const content = /default-text\/|testing\/|\.test\.ts$|docs\/writing\.md$|plain-words\.mjs$|docs\/reference\//;

const maxColumns = 120;

const withoutCode = (line) => line.replace(/`[^`]*`/g, '');

/** The prose of each line of a page: nothing for lines inside of fences. */
function proseOfPage(lines) {
  let fenced = false;
  return lines.map((line) => {
    if (/^\s*(```|~~~)/.test(line)) {
      fenced = !fenced;
      return '';
    }
    return fenced ? '' : withoutCode(line);
  });
}

/** The comment of each line of a source. */
function commentsOf(lines) {
  let inside = false;
  return lines.map((line) => {
    const begins = /^\s*\/\*/.test(line);
    if (inside || begins) {
      inside = !line.includes('*/');
      return withoutCode(line);
    }
    return withoutCode(/(?:^|\s)\/\/ (.*)$/.exec(line)?.[1] ?? '');
  });
}

/**
 * A breach for each line of a page's prose that is too long. Tables, code and a line of one code span may be longer.
 */
export function longLineBreaches(shown, text) {
  const lines = text.split('\n');
  return proseOfPage(lines).flatMap((prose, index) =>
    /\S\s+\S/.test(prose) && lines[index].length > maxColumns && !/^\s*\|/.test(prose)
      ? [`${shown}:${index + 1}: ${lines[index].length} columns: wrap prose at ${maxColumns}`]
      : [],
  );
}

/** A breach for each refused word of a file. `shown` is its path from the root. */
export function wordBreaches(shown, text) {
  if (content.test(shown)) return [];
  const lines = text.split('\n');
  const prose = shown.endsWith('.md') ? proseOfPage(lines) : commentsOf(lines);
  const found = (words, texts) =>
    texts.flatMap((line, index) =>
      words.flatMap(([pattern, better]) => {
        const word = pattern.exec(line)?.[0];
        return word ? [`${shown}:${index + 1}: "${word}": write "${better}" (docs/writing.md)`] : [];
      }),
    );
  return [...found(everywhere, lines), ...found(inProse, prose)];
}
