interface Watched {
  on(event: 'error', listener: (error: NodeJS.ErrnoException) => void): unknown;
  write(text: string): unknown;
}

/**
 * Decides what becomes of the process when nobody takes what it prints. Without a listener a failed write ends a process with a
 * stack trace, hours of work unfinished.
 * @param end ends the process with an exit code
 */
export function watchStreams(out: Watched, err: Watched, end: (code: number) => void): void {
  out.on('error', (error) => {
    // A reader that goes away (| head) is not an error.
    if (error.code === 'EPIPE') return end(0);
    err.write(
      `error: standard output: cannot be written (${error.code ?? error.message}): free space, or write it elsewhere. What the command has written to files is there\n`,
    );
    end(1);
  });
  // Notes and progress for people: a run goes on without them.
  err.on('error', () => {});
}
