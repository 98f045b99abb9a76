import type { FuzzedParser } from '../parser.js';
import { adapterParser, ggufParser, indexParser, safetensorsParser } from './files.js';
import { layoutParsers } from './layouts.js';
import { recipeParser, recipeTextParsers } from './recipes.js';
import { configParser, textParser, tokenizerParser } from './texts.js';

/** All readers of outside data. */
export const parsers = (): readonly FuzzedParser[] => [
  safetensorsParser(),
  indexParser(),
  ggufParser(),
  configParser(),
  tokenizerParser(),
  recipeParser(),
  ...recipeTextParsers(),
  adapterParser(),
  textParser(),
  ...layoutParsers(),
];
