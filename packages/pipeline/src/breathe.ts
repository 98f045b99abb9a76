/**
 * Lets timers and signals through, then throws if the run was aborted. Engines compute synchronously and their promises
 * are resolved already: without this an interrupt would wait for the end of the run.
 */
export async function breathe(signal: AbortSignal | undefined): Promise<void> {
  await new Promise<void>((resolve) => setImmediate(resolve));
  signal?.throwIfAborted();
}
