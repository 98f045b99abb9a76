/** First case of the short run of each parser. Cases that once were findings are listed next to it. */
export const firstCase = 0;
export const shortRun = 600;
export const onceFound: ReadonlyMap<string, readonly number[]> = new Map([
  // A fit with an option whose name is a member of every object.
  ['recipe', [372]],
  // A number of bits that is an object with a member `toString`.
  ['layout-compressed-tensors', [190_574]],
  ['layout-gptq', [518_244]],
  // A value of YAML that contains itself by an alias.
  ['recipe-yaml', [43_961, 54_669]],
]);
