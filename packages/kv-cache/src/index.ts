export {
  type CacheScheme,
  type CacheSide,
  cacheScheme,
  cacheSchemes,
  checkCacheScheme,
} from './cache-scheme.js';
export { cacheBytes, KvCache, type KvCacheOptions } from './kv-cache.js';
export { rotateHeads } from './rotate-heads.js';
