/**
 * Groups modules by the text about them. Texts and modules keep their order.
 * @param texts by module
 */
export function byText(
  texts: Iterable<readonly [module: string, text: string]>,
): ReadonlyMap<string, readonly string[]> {
  const modules = new Map<string, string[]>();
  for (const [module, text] of texts) {
    const present = modules.get(text);
    if (present) present.push(module);
    else modules.set(text, [module]);
  }
  return modules;
}
