interface Watched {
  on(event: 'error', listener: (error: NodeJS.ErrnoException) => void): unknown;
  write(text: string): unknown;
}

/**
 * Handles failed writes to standard output and standard error. Without a listener a failed write ends a process with a
 * stack trace, and hours of work are lost.
 * @param end ends the process with an exit code
 */
export function watchStreams(out: Watched, err: Watched, end: (code: number) => void): void {
  out.on('error', (error) => {
    // A closed reader (| head) is not an error.
    if (error.code === 'EPIPE') return end(0);
    err.write(
      `error: standard output: cannot be written (${error.code ?? error.message}): free space, or write it elsewhere. What the command has written to files is there\n`,
    );
    end(1);
  });
  // Notes and progress are for people: a run goes on without them.
  err.on('error', () => {});
}
