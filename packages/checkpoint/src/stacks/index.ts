export { joinStacks } from './join-stacks.js';
export { stackedShards } from './stacked-shards.js';
