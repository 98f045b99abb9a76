import { cutWindows, type Windows } from '@q/calib';
import { loadWindows } from './texts.js';

/** Windows of the calibration text that are scored when no other text is given. */
const ownWindows = 32;

export interface HeldOutFlags {
  readonly evalText?: string;
  readonly windows?: number;
  readonly eval?: boolean;
  readonly shuffle?: boolean;
}

/** A calibration or training text: its file, the number of windows taken from its start, and their purpose. */
export interface LearntText {
  readonly path: string;
  readonly windows: Windows;
  readonly purpose: 'calibration' | 'training';
}

/**
 * Text to score on: the given one, else the rest of the calibration text, else none, with the reason in `notes`.
 * @param model folder with the tokenizer
 * @param learnt undefined when no file was used for calibration or training
 */
export async function heldOutText(
  model: string,
  flags: HeldOutFlags,
  length: number,
  learnt: LearntText | undefined,
  notes: string[],
): Promise<{ readonly name: string; readonly windows: Windows } | undefined> {
  if (flags.eval === false) {
    notes.push('not evaluated: --no-eval was given');
    return undefined;
  }
  const count = flags.windows;
  if (flags.evalText !== undefined)
    return { name: flags.evalText, windows: await loadWindows(model, { path: flags.evalText, length, count }) };
  if (!learnt || flags.shuffle) {
    notes.push('not evaluated: there is no held-out text (give some with --eval-text)');
    return undefined;
  }
  const { path, windows, purpose } = learnt;
  const all = await loadWindows(model, { path, length });
  const left = Math.min(count ?? ownWindows, all.count - windows.count);
  if (left < 1) {
    notes.push(
      `not evaluated: the text has no window left beyond those of the ${purpose} (give another one with --eval-text)`,
    );
    return undefined;
  }
  return {
    name: `${path}, the ${left} windows after those of the ${purpose}`,
    windows: cutWindows(all.ids, length, { skip: windows.count, count: left }),
  };
}
