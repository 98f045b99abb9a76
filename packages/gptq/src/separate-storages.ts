/** Storages that round each scale by itself, so one scale can change while the others stay. */
export const separateStorages: ReadonlySet<string> = new Set(['f32', 'f16', 'bf16']);
