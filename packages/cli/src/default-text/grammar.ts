import type { Random } from '@q/core';

/**
 * Rules by name; each is a list of texts with `{rule}`, `{^rule}` (with a capital), `{#1-9}` (a whole number) in them.
 */
export type Grammar = Readonly<Record<string, readonly string[]>>;

/** Writes texts of a grammar. */
export interface Writer {
  /**
   * One text of a rule. Every choice of a rule is taken once before one is taken again.
   * @param fixed texts of rules that are the same throughout this text
   */
  write(rule: string, fixed?: ReadonlyMap<string, string>): string;
}

const slots = /\{(?:#(\d+)-(\d+)|(\^?)([a-z]\w*))\}/g;

export function createWriter(grammar: Grammar, random: Random): Writer {
  const left = new Map<string, string[]>();
  const draw = (rule: string): string => {
    let choices = left.get(rule);
    if (!choices?.length) {
      choices = [...(grammar[rule] ?? missing(rule))];
      left.set(rule, choices);
    }
    return choices.splice(random.integer(choices.length), 1)[0];
  };
  const write = (rule: string, fixed: ReadonlyMap<string, string> = new Map()): string =>
    (fixed.get(rule) ?? draw(rule)).replace(
      slots,
      (_, least: string | undefined, most: string, capital: string, name: string) => {
        if (least !== undefined) return `${Number(least) + random.integer(Number(most) - Number(least) + 1)}`;
        const text = write(name, fixed);
        return capital ? text.charAt(0).toUpperCase() + text.slice(1) : text;
      },
    );
  return { write };
}

function missing(rule: string): never {
  throw new RangeError(`the default text has no rule ${rule}`);
}
