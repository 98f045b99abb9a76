// The readers that need no file system: memory and URLs, for browsers too.
export { type ByteSource, fromBytes, fromUrl, type UrlOptions } from './byte-source.js';
export { coreDtype, type FileDtype } from './file-dtype.js';
export * from './header.js';
export * from './read-tensor.js';
