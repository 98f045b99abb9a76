/** First case of the short run of each parser; cases that once were findings are listed beside it. */
export const firstCase = 0;
export const shortRun = 600;
export const onceFound: ReadonlyMap<string, readonly number[]> = new Map([
  // A fit with an option that is called as a member of every object.
  ['recipe', [372]],
  // A number of bits that is an object with a member `toString`.
  ['layout-compressed-tensors', [190_574]],
  ['layout-gptq', [518_244]],
  // A value of YAML that holds itself by an alias.
  ['recipe-yaml', [43_961, 54_669]],
]);
