import type { LayoutDeclaration } from '@q/checkpoint';
import {
  type Architecture,
  type Declaration,
  type Method,
  type ModelStep,
  type NamedParts,
  type NamedScheme,
  type NumberFormat,
  type ScaleFit,
  SchemeError,
} from '@q/core';

/** All parts that a command line or a recipe can name. The command has the list of the built-in parts. */
export interface Vocabulary {
  readonly methods: readonly Method[];
  readonly layouts: readonly LayoutDeclaration[];
  readonly fits: readonly Declaration<ScaleFit>[];
  /** Transforms and rewrites that a recipe's `transforms` can name. */
  readonly steps: readonly Declaration<ModelStep>[];
  readonly formats: readonly NumberFormat[];
  readonly schemes: readonly NamedScheme[];
  readonly architectures: readonly Architecture[];
  /** The outside modules of which parts came. The identity of a run records them. */
  readonly uses: readonly UsedModule[];
}

/** A module with parts of its own, and a hash of its content. */
export interface UsedModule {
  readonly module: string;
  /** SHA-256 of the module's file, and the version of its package if it has one. */
  readonly identity: string;
}

/** The export `plugin` of an outside module: any parts of a vocabulary. */
export type Plugin = Partial<Omit<Vocabulary, 'uses'>>;

/** Functions and texts that a part must have, by kind. */
const shapes: Readonly<Record<keyof Plugin, Readonly<Record<string, 'string' | 'object' | 'function'>>>> = {
  methods: { name: 'string', summary: 'string', options: 'object' },
  layouts: { name: 'string', summary: 'string', options: 'object', make: 'function' },
  fits: { name: 'string', summary: 'string', options: 'object', make: 'function' },
  steps: { name: 'string', summary: 'string', options: 'object', make: 'function' },
  formats: { name: 'string', bits: 'object', encode: 'function', decode: 'function' },
  schemes: { name: 'string', summary: 'string', scheme: 'object' },
  architectures: { name: 'string', modelTypes: 'object', describe: 'function' },
};

/**
 * A vocabulary with the parts of a plugin. A part with the name of a known part is refused, so no name changes its
 * meaning. An architecture comes before the known ones.
 * @param from the module, for messages
 * @throws SchemeError naming the part and the missing member
 */
export function extendVocabulary(known: Vocabulary, plugin: unknown, from: UsedModule): Vocabulary {
  const { module } = from;
  if (typeof plugin !== 'object' || plugin === null)
    throw new SchemeError(
      `${module}: exports no object named plugin: { methods, layouts, fits, steps, formats, schemes, architectures }`,
    );
  const kinds = Object.keys(shapes) as (keyof Plugin)[];
  const odd = Object.keys(plugin).find((key) => !kinds.includes(key as keyof Plugin));
  if (odd !== undefined)
    throw new SchemeError(
      `${module}: plugin has an unknown key ${JSON.stringify(odd)}; it may have ${kinds.join(', ')}`,
    );
  const extended: Record<string, unknown> = { ...known, uses: [...known.uses, from] };
  for (const kind of kinds) {
    const own = (plugin as Record<string, unknown>)[kind];
    if (own === undefined) continue;
    if (!Array.isArray(own)) throw new SchemeError(`${module}: plugin.${kind} must be an array`);
    const names = new Set((known[kind] as readonly { name: string }[]).map(({ name }) => name));
    for (const part of own) {
      checkShape(part, kind, module);
      if (kind !== 'architectures' && names.has(part.name))
        throw new SchemeError(
          `${module}: plugin.${kind} has ${part.name}, which is there already: choose another name`,
        );
      names.add(part.name);
    }
    extended[kind] = kind === 'architectures' ? [...own, ...known[kind]] : [...known[kind], ...own];
  }
  const result = extended as unknown as Vocabulary;
  for (const method of result.methods) checkMethod(method, result, module);
  return result;
}

function checkShape(part: unknown, kind: keyof Plugin, module: string): void {
  for (const [key, type] of Object.entries(shapes[kind])) {
    const found = (part as Record<string, unknown> | null)?.[key];
    const right = key === 'bits' ? Number.isInteger(found) : typeof found === type && found !== null && found !== '';
    if (!right)
      throw new SchemeError(
        `${module}: plugin.${kind}: ${JSON.stringify((part as { name?: unknown } | null)?.name) ?? 'an entry'} has no ${key} (${key === 'bits' ? 'a whole number' : type})`,
      );
  }
}

function checkMethod({ name, quantizer, base }: Method, { methods }: Vocabulary, module: string): void {
  if (!quantizer && !base)
    throw new SchemeError(`${module}: method ${name} has neither a quantizer nor a base that rounds its weights`);
  if (base && !methods.some((other) => other.name === base.method && other.quantizer))
    throw new SchemeError(`${module}: method ${name} is based on ${base.method}, which is not a known method`);
}

/** The declarations that options can name. */
export const namedParts = ({ fits, steps }: Vocabulary): NamedParts => ({ fits, steps });
