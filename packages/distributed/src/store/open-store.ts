import { folderStore, makeFolderStore, sweepFolderStore } from './folder-store.js';
import { patientStore } from './patient-store.js';
import { s3Store } from './s3-store.js';
import { type Store, StoreError } from './store.js';

/**
 * The store of an address: `s3://bucket/prefix`, or a folder that all machines can read.
 * @param make whether to create the folder: for the process that begins a run
 * @throws StoreError for another kind of address
 */
export async function openStore(address: string, { make = false }: { readonly make?: boolean } = {}): Promise<Store> {
  if (address.startsWith('s3://')) return patientStore(await s3Store(address));
  if (/^[a-z][a-z0-9+.-]+:\/\//i.test(address))
    throw new StoreError(`--store ${address}: a folder or s3://bucket/prefix was expected`);
  if (make) {
    await makeFolderStore(address);
    await sweepFolderStore(address);
  }
  return patientStore(folderStore(address));
}
