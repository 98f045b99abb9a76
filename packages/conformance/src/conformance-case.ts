/** One check. `run` throws if the part does not pass. */
export interface Check<Part> {
  readonly name: string;
  run(part: Part): void | Promise<void>;
}

/** @throws Error stating the found and the expected value */
export function expectThat(condition: boolean, message: () => string): asserts condition {
  if (!condition) throw new Error(message());
}
