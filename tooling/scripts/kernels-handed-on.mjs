/**
 * Finds calls of core's `quantize` and `fitScales` without the run's kernels. Such calls compute the same values on one
 * thread of plain loops, 3 to 5 times as slowly, so nobody notices them. Tests and core itself may omit the kernels.
 */
import ts from 'typescript';

/** Index of the argument that has the kernels: an option of `quantize`, an argument of `fitScales`. */
const takers = { quantize: 2, fitScales: 4 };

/** The local names of these functions in a file, with their names in core. */
function importedTakers(source) {
  const names = new Map();
  for (const statement of source.statements) {
    if (!ts.isImportDeclaration(statement) || statement.moduleSpecifier.text !== '@q/core') continue;
    const bindings = statement.importClause?.namedBindings;
    if (!bindings || !ts.isNamedImports(bindings)) continue;
    for (const { name, propertyName } of bindings.elements) {
      const original = (propertyName ?? name).text;
      if (original in takers) names.set(name.text, original);
    }
  }
  return names;
}

/** Whether an argument exists and, if it is an object literal, has `kernels`. */
function hands(argument) {
  if (!argument) return false;
  if (!ts.isObjectLiteralExpression(argument)) return true;
  return argument.properties.some((property) => ts.isSpreadAssignment(property) || property.name?.text === 'kernels');
}

/** A line for each call of a file that passes no kernels. */
export function forgottenKernels(shown, text) {
  if (!/^packages\/(?!core\/|conformance\/)[^/]+\/src\//.test(shown) || /\.test\.ts$|\/testing\//.test(shown))
    return [];
  if (!/\b(quantize|fitScales)\b/.test(text)) return [];
  const source = ts.createSourceFile(shown, text, ts.ScriptTarget.Latest, true);
  const names = importedTakers(source);
  const found = [];
  const visit = (node) => {
    if (ts.isCallExpression(node) && ts.isIdentifier(node.expression) && names.has(node.expression.text)) {
      const { line } = source.getLineAndCharacterOfPosition(node.getStart());
      if (!hands(node.arguments[takers[names.get(node.expression.text)]]))
        found.push(`${shown}:${line + 1} calls ${node.expression.text} without the kernels of its context`);
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}
