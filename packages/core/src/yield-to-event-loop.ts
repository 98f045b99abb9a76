/**
 * Lets timers and signals run, then throws if the run was aborted. Engines compute synchronously and return promises
 * that are resolved already, so without this an interrupt would wait for the end of the run.
 * @throws the signal's reason
 */
export async function yieldToEventLoop(signal: AbortSignal | undefined): Promise<void> {
  // Node's `setImmediate` waits for no timer tick (1 ms); browsers have only `setTimeout`.
  await new Promise<void>((resolve) =>
    typeof setImmediate === 'function' ? setImmediate(resolve) : setTimeout(resolve, 0),
  );
  signal?.throwIfAborted();
}
