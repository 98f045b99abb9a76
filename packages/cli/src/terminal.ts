import type { Logger, ProgressEvent } from '@q/core';
import type { SingleBar } from 'cli-progress';

/** Output of a command: results go to standard output, everything else to standard error. */
export interface Terminal {
  readonly logger: Logger;
  readonly progress: (event: ProgressEvent) => void;
  /** A result: text, or with `--json` one object and nothing else. */
  print(text: string): void;
  /** A part of a result, without the end of a line. */
  write(text: string): void;
  /**
   * A result in parts, each written when the reader has taken the earlier ones: the whole may be too large for memory.
   */
  printParts(parts: Iterable<string>): Promise<void>;
  printJson(value: unknown): void;
  /** A note for people, on standard error. */
  note(text: string): void;
  /** Clears an open progress bar. */
  done(): void;
}

export interface Streams {
  /** `write` returns false when the reader is slow; the stream then emits `drain`. */
  readonly out: { write(text: string): unknown; once?(event: 'drain', listener: () => void): unknown };
  readonly err: { write(text: string): unknown; readonly isTTY?: boolean };
}

/** Characters that control a terminal, and those that change the order of text. Line ends and tabs are text. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const commanding = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/**
 * A text that is safe to show: names of files and tensors come from outside, and must not move the cursor or hide a
 * line.
 */
const shown = (text: string): string =>
  text.replace(commanding, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);

/** Loaded when there is something to draw, so other commands start sooner. */
const loadBars = () => import('cli-progress');

/** Bars on a terminal; elsewhere a plain line at each tenth, so that logs stay readable. */
export function createTerminal({ out, err }: Streams): Terminal {
  let bars: Awaited<ReturnType<typeof loadBars>> | 'loading' | undefined;
  let bar: SingleBar | undefined;
  let task = '';
  let tenth = -1;
  const done = () => {
    bar?.stop();
    bar = undefined;
    task = '';
  };
  const note = (text: string) => {
    done();
    err.write(`${shown(text)}\n`);
  };
  return {
    logger: { info: note, warn: (message) => note(`warning: ${message}`) },
    progress(event) {
      const { done: count, total, unit = '' } = event;
      const noted = shown(event.note ?? '');
      if (err.isTTY) {
        if (bars === undefined) {
          bars = 'loading';
          void loadBars().then((loaded) => {
            bars = loaded;
          });
        }
        if (bars === 'loading') return;
        if (event.task !== task) {
          done();
          bar = new bars.SingleBar(
            {
              format: ' {task} |{bar}| {value}/{total} {unit} {eta_formatted} {note}',
              stream: err as NodeJS.WriteStream,
              hideCursor: true,
            },
            bars.Presets.shades_classic,
          );
          bar.start(total, 0, { task: event.task, unit, note: '' });
        }
        bar?.update(count, { unit, note: noted });
        task = event.task;
        if (count === total) done();
        return;
      }
      const reached = Math.floor((10 * count) / total);
      if (event.task !== task || reached > tenth)
        err.write(`${event.task}: ${count}/${total} ${unit}${noted ? ` ${noted}` : ''}\n`);
      task = event.task;
      tenth = count === total ? -1 : reached;
    },
    print: (text) => {
      done();
      out.write(`${shown(text)}\n`);
    },
    write: (text) => {
      done();
      out.write(shown(text));
    },
    async printParts(parts) {
      done();
      for (const part of parts)
        if (out.write(shown(part)) === false && out.once) await new Promise<void>((go) => out.once?.('drain', go));
    },
    printJson: (value) => {
      done();
      // JSON escapes control characters except those above 7f.
      out.write(`${shown(JSON.stringify(value))}\n`);
    },
    note,
    done,
  };
}
