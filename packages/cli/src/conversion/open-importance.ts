import { type ImportanceMatrix, importanceMatrix, readImportance } from '@q/gguf';
import { openFile } from '@q/safetensors';

/** The weights of columns in an importance matrix of `q imatrix` or llama-imatrix. */
export async function openImportance(path: string): Promise<ImportanceMatrix> {
  const source = await openFile(path);
  try {
    return importanceMatrix(await readImportance(source));
  } finally {
    await source.close();
  }
}
