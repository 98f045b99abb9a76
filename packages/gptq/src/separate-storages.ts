/** Storages whose scales are rounded one by one, so that one of them can change while the others stay. */
export const separateStorages: ReadonlySet<string> = new Set(['f32', 'f16', 'bf16']);
