import { SchemeError } from '@q/core';
import { type EngineOptions, type LoadedBackend, startEngine, type TfjsEngine } from './engine.js';

export type BackendChoice = 'auto' | 'wasm' | 'cpu' | 'node' | 'node-bf16';

/** A backend that may be tried. */
export interface Candidate {
  readonly choice: Exclude<BackendChoice, 'auto'>;
  /** True: `auto` does not try it. */
  readonly onlyOnRequest?: boolean;
  /** The reason not to try the backend; undefined if it may be tried. */
  absent?(): string | undefined;
  /** @throws Error when the package cannot be loaded */
  load(): LoadedBackend | Promise<LoadedBackend>;
}

/**
 * Starts the requested backend, or for `auto` the first of `candidates` that starts. The engine's notes name the
 * candidates that were skipped, with the reasons.
 * @throws SchemeError when the requested backend does not start, or none does
 */
export async function selectBackend(
  candidates: readonly Candidate[],
  choice: BackendChoice,
  options: EngineOptions,
): Promise<TfjsEngine> {
  const tried = candidates.filter((candidate) =>
    choice === 'auto' ? !candidate.onlyOnRequest : candidate.choice === choice,
  );
  if (tried.length === 0) {
    const known = ['auto', ...candidates.map((candidate) => candidate.choice)].join(', ');
    throw new SchemeError(`there is no backend "${choice}" here: choose one of ${known}`);
  }
  const notes: string[] = [];
  for (const candidate of tried) {
    const absent = candidate.absent?.();
    if (absent) {
      notes.push(`${candidate.choice}: ${absent}`);
      continue;
    }
    try {
      const loaded = await candidate.load();
      const reason = choice === 'auto' ? 'the first backend that started' : 'asked for';
      return await startEngine(loaded, options, [...notes, `${candidate.choice}: ${reason}`, ...(loaded.notes ?? [])]);
    } catch (error) {
      notes.push(`${candidate.choice}: did not start (${firstLine(error)})`);
    }
  }
  throw new SchemeError(`no engine: ${notes.join('; ')}`);
}

function firstLine(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.trim().split('\n')[0]!;
}
