import { byText } from './by-text.js';
import type { Refusal } from './refuse-module.js';

/** Largest number of names for one reason. Names that differ only in numbers count as one. */
const mostNamed = 8;

/**
 * One message about all refused modules, for the error that ends a plan. It names the modules of each reason, then says
 * what to do. Modules whose names differ only in numbers share one pattern, in the form that `--keep` takes:
 * `model.layers.*.mlp.up_proj (12 modules)`.
 * @param refusals by module, at least one
 */
export function refusalText(refusals: ReadonlyMap<string, Refusal>): string {
  const reasons = byText([...refusals].map(([module, { reason }]) => [module, reason] as const));
  const parts = [...reasons].map(([reason, modules]) => `${namesOf(modules)}: ${reason}`);
  const advice = new Set([...refusals.values()].map((refusal) => refusal.advice));
  return [parts.join('; '), ...advice].join('. ');
}

function namesOf(modules: readonly string[]): string {
  const groups = byText(modules.map((module) => [module, module.replace(/\d+/g, '*')] as const));
  const named = [...groups].slice(0, mostNamed);
  const names = named.map(([pattern, alike]) =>
    alike.length === 1 ? alike[0] : `${pattern} (${alike.length} modules)`,
  );
  const rest = modules.length - named.reduce((sum, [, alike]) => sum + alike.length, 0);
  if (rest > 0) names.push(`${rest} more modules`);
  return names.length === 1 ? names[0] : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
}
