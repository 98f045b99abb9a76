export { combineSettings, makeRecipe, type RecipeSurroundings, type RequestedRecipe } from './make-recipe.js';
export { baseOf, methodOptions } from './method-options.js';
export { parseBudget, parseSize } from './parse-budget.js';
export {
  notAllowed,
  type RequestedRule,
  type RequestedSettings,
  readRecipe,
  readRule,
  type Setting,
  type Settings,
} from './read-recipe.js';
export { layoutKey, layoutOptions, methodOption, schemeOptions, topOptions } from './recipe-options.js';
export { recipeSchema } from './recipe-schema.js';
export { extendVocabulary, namedParts, type Plugin, type UsedModule, type Vocabulary } from './vocabulary.js';
