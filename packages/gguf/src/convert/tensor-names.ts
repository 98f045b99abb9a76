import { FormatError, SchemeError } from '@q/core';
import type { ConversionSource, ModelTensor, StridedRows } from './conversion.js';

/** Name and form of the tensors of one module in a file. */
interface NameRule {
  /** Name in the file, without `.weight` or `.bias`. `N` is the number of the block. */
  readonly to: string;
  /** The source's row index of each row. */
  readonly order?: (rows: number) => Int32Array;
  readonly strided?: StridedRows;
  /** Added to every value. */
  readonly plus?: number;
}

/**
 * Modules by their name in the checkpoint without its prefix. `N` is the number of the block, `E` that of the expert. A
 * module with several rules becomes several tensors of the file.
 */
export type NameRules = Readonly<Record<string, string | NameRule | readonly NameRule[]>>;

export interface Naming {
  readonly rules: NameRules;
  /** The prefix that names have in some checkpoints. */
  readonly prefix: RegExp;
  /** Modules or tensors that are not part of the file. */
  readonly dropped?: RegExp;
}

interface Found {
  readonly rule: NameRule;
  readonly name: string;
  readonly expert: number | undefined;
}

/**
 * The tensors of a file: those of a checkpoint with other names, with the rows of a block's experts one after the
 * other.
 * @throws FormatError for a tensor without a rule, SchemeError for a decoder's head that has no place in the file
 */
export function nameTensors(
  source: Pick<ConversionSource, 'name' | 'shapes'>,
  { rules, prefix, dropped }: Naming,
): ModelTensor[] {
  const merged = new Map<string, { rule: NameRule; parts: { from: string; expert: number | undefined }[] }>();
  for (const from of source.shapes.keys()) {
    const bare = from.replace(prefix, '');
    if (dropped?.test(bare)) continue;
    const found = findRules(bare, rules);
    if (found.length === 0) throw withoutName(source.name, from, bare);
    for (const { name, rule, expert } of found) {
      const entry = merged.get(name) ?? { rule, parts: [] };
      entry.parts.push({ from, expert });
      merged.set(name, entry);
    }
  }
  return [...merged]
    .map(([name, { rule, parts }]) => {
      const from = parts.sort((a, b) => (a.expert ?? 0) - (b.expert ?? 0)).map((part) => part.from);
      const shape = source.shapes.get(from[0]) as readonly number[];
      const rows = from.length * (shape.length > 1 ? shape.slice(0, -1).reduce((a, b) => a * b, 1) : shape[0]);
      const order = rule.order?.(rows);
      const { plus, strided } = rule;
      const taken = order?.length ?? rows / (strided?.step ?? 1);
      const own = taken === rows ? shape : [taken / from.length, ...shape.slice(1)];
      return {
        ...{ name, from, ...(order ? { order } : {}), ...(plus === undefined ? {} : { plus }) },
        ...(strided ? { strided } : {}),
        shape: parts[0].expert === undefined ? own : [from.length, ...own],
      };
    })
    .sort((a, b) => blockOf(a.name) - blockOf(b.name));
}

/** Heads of decoders that give classes or answers, by the names that transformers gives to them. */
const decoderHeads: Readonly<Record<string, string>> = {
  score: 'gives the scores of classes',
  classifier: 'gives the scores of classes',
  qa_outputs: 'gives the start and the end of an answer',
};

function withoutName(source: string, tensor: string, bare: string): Error {
  const head = decoderHeads[bare.replace(/\..*$/, '')];
  if (head === undefined)
    return new FormatError(`${source}: tensor ${tensor} has no name in a GGUF file of this architecture`);
  return new SchemeError(
    `${source}: tensor ${tensor} is a head that ${head}, and a GGUF file of a decoder has only a head for the next token. A file for embeddings can be made of the model without the head: AutoModel.from_pretrained(FOLDER).save_pretrained(OTHER) of transformers writes it`,
  );
}

/** Embeddings first, then blocks, then the tensors after them. */
function blockOf(name: string): number {
  const block = /^blk\.(\d+)\./.exec(name);
  if (block) return Number(block[1]);
  return name.startsWith('output') || name.startsWith('cls') ? Number.MAX_SAFE_INTEGER : -1;
}

function findRules(bare: string, rules: NameRules): readonly Found[] {
  const cut = /^(?<module>.*?)(?<suffix>\.weight|\.bias)?$/.exec(bare)?.groups as { module: string; suffix?: string };
  const numbers = [...cut.module.matchAll(/(?<=\.|^)\d+(?=\.|$)/g)].map(Number);
  // The first number is the block's, a second one the expert's.
  let index = 0;
  const pattern = cut.module.replace(/(?<=\.|^)\d+(?=\.|$)/g, () => (index++ === 0 ? 'N' : 'E'));
  const expert = /\.E(\.|$)/.test(pattern) ? numbers[1] : undefined;
  return [rules[pattern] ?? []].flat().map((rule) => {
    const full = typeof rule === 'string' ? { to: rule } : rule;
    return { rule: full, name: full.to.replace(/\bN\b/, String(numbers[0])) + (cut.suffix ?? '.weight'), expert };
  });
}
