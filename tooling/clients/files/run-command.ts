import { main } from '@q/cli';

/** Runs `q` in this process, and returns its JSON output. */
export async function runCommand(...words: string[]): Promise<Record<string, unknown>> {
  let out = '';
  const quiet = { write: () => {} };
  const said = {
    write(text: string) {
      out += text;
    },
  };
  const code = await main([...words, '--json'], { out: said, err: quiet }, new AbortController().signal);
  const result = JSON.parse(out);
  if (code !== 0) throw new Error(result.error ?? out);
  return result;
}
