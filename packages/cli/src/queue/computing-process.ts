import { type ChildProcess, spawn } from 'node:child_process';
import { type JobData, QueueError, RefusedRunError } from '@q/distributed';

/** A request from the worker to the process that computes. */
export interface ComputeRequest {
  readonly job: JobData;
}

/** The answer of that process. */
export interface ComputeAnswer {
  readonly failure?: { readonly message: string; readonly refused: boolean };
}

/** A process that computes, while its parent renews the lock of the job. */
export interface ComputingProcess {
  /** @throws QueueError when the process dies; RefusedRunError when it must not take part in the run */
  compute(job: JobData): Promise<void>;
  close(): void;
}

/** Milliseconds after which an idle process is killed. A current job is finished first. */
const patience = 5000;

/** Starts the same command again with `--compute`; a process that has ended is replaced for the next job. */
export function startComputing(): ComputingProcess {
  const [, script, ...words] = process.argv;
  let child: ChildProcess | undefined;
  let pending: { resolve(): void; reject(error: Error): void } | undefined;
  const start = () => {
    const started = spawn(process.execPath, [...process.execArgv, script, ...words, '--compute'], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    started.on('message', ({ failure }: ComputeAnswer) => {
      if (!failure) pending?.resolve();
      else pending?.reject(failure.refused ? new RefusedRunError(failure.message) : new QueueError(failure.message));
    });
    const gone = (what: string) => {
      if (child === started) child = undefined;
      pending?.reject(new QueueError(`the process that computes ${what}`));
    };
    started.on('error', (error) => gone(`could not be started (${error.message})`));
    started.on('exit', (code, signal) =>
      gone(
        signal === 'SIGKILL'
          ? 'was killed (SIGKILL): is there enough memory?'
          : `ended with ${signal ?? `exit code ${code}`}`,
      ),
    );
    return started;
  };
  return {
    compute: (job) =>
      new Promise<void>((resolve, reject) => {
        child ??= start();
        pending = { resolve, reject };
        child.send({ job } satisfies ComputeRequest, (error) => {
          if (error) reject(new QueueError(`the process that computes does not listen (${error.message})`));
        });
      }),
    close() {
      const last = child;
      child = undefined;
      if (!last) return;
      // It ends when its channel is closed. A signal would only request a stop after the current step.
      if (last.connected) last.disconnect();
      const timer = setTimeout(() => last.kill('SIGKILL'), patience);
      last.once('exit', () => clearTimeout(timer));
    },
  };
}
