export {
  type CacheScheme,
  type CacheSide,
  cacheScheme,
  cacheSchemes,
  checkCacheScheme,
} from './cache-scheme.js';
export { cacheBytes, KvCache, type KvCacheOptions } from './kv-cache.js';
export { parseCacheScheme } from './parse-cache-scheme.js';
export { rotateHeads } from './rotate-heads.js';
export { StaticCache, type StaticCacheOptions } from './static-cache.js';
