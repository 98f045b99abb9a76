import { createRandom } from '@q/core';
import { code, identifiers } from './code.js';
import { dialogue } from './dialogue.js';
import { english } from './english.js';
import { createWriter } from './grammar.js';
import { languages } from './languages.js';
import { paragraphs } from './paragraphs.js';

/** Kinds of five consecutive documents. */
const turns = ['english', 'code', 'languages', 'english', 'dialogue'] as const;

/** Characters of the whole text: more than 128 windows of 256 tokens, with current vocabularies. */
const characters = 200_000;

/**
 * The default calibration text: prose, conversations, programs and markup, in several languages. A part is written by
 * hand, the rest is drawn from grammars. The kinds alternate, so every beginning of the text has all of them. It is the
 * same on every call and every machine.
 */
export function defaultDocuments(): readonly string[] {
  const random = createRandom(20_261_129);
  const prose = { english: createWriter(english, random), dialogue: createWriter(dialogue, random) };
  const programs = createWriter(code, random);
  const others = languages.map((grammar) => createWriter(grammar, random));
  const draw = (i: number): string => {
    const kind = turns[i % turns.length];
    const round = Math.floor(i / turns.length);
    if (kind === 'languages') return others[round % others.length].write('document');
    if (kind === 'code')
      return programs.write('document', new Map(identifiers.map((name) => [name, programs.write(name)])));
    const drawn = prose[kind].write('document');
    return i % turns.length === 0 && round < paragraphs.length ? `${paragraphs[round]}\n\n${drawn}` : drawn;
  };
  const documents: string[] = [];
  for (let length = 0; length < characters; ) {
    const document = draw(documents.length);
    documents.push(document);
    length += document.length;
  }
  return documents;
}
