import { readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The root of the repository. */
export const root = fileURLToPath(new URL('../../../', import.meta.url));

/** A fenced code block of a Markdown page that must run unchanged. */
export interface Snippet {
  /** Path of the page from the root. */
  readonly page: string;
  /** Line of its first line of code. */
  readonly line: number;
  readonly language: 'ts' | 'sh';
  readonly code: string;
  /** Folder in which it runs: the page's package, or the root. */
  readonly folder: string;
  /** Expected output, in order: the text after each `// → `. */
  readonly prints: readonly string[];
}

/**
 * Every snippet that has to run: all blocks marked `ts` or `sh` in README files, and those marked `ts run` or `sh run`
 * in pages of `docs`.
 */
export function collectSnippets(): Snippet[] {
  const packages = readdirSync(join(root, 'packages'))
    .map((name) => join(root, 'packages', name, 'README.md'))
    .filter(exists);
  const docs = readdirSync(join(root, 'docs'), { recursive: true })
    .map((name) => join(root, 'docs', `${name}`))
    .filter((path) => path.endsWith('.md'));
  return [join(root, 'README.md'), ...packages, ...docs.sort()].flatMap(snippetsOf);
}

function exists(path: string): boolean {
  return readdirSync(dirname(path)).includes(basename(path));
}

function snippetsOf(path: string): Snippet[] {
  const page = relative(root, path);
  const marked = page.startsWith('docs') ? /^```(ts|sh) run\s*$/ : /^```(ts|sh)\s*$/;
  const snippets: Snippet[] = [];
  let open: { language: 'ts' | 'sh'; line: number; lines: string[] } | undefined;
  for (const [index, line] of readFileSync(path, 'utf8').split('\n').entries()) {
    if (open && line.startsWith('```')) {
      const code = `${open.lines.join('\n')}\n`;
      const prints = [...code.matchAll(/\/\/ → (.*)/g)].map(([, text]) => text.trim());
      const folder = page.startsWith('packages') ? dirname(path) : root;
      snippets.push({ page, line: open.line, language: open.language, code, folder, prints });
      open = undefined;
    } else if (open) open.lines.push(line);
    else {
      const [, language] = marked.exec(line) ?? [];
      if (language) open = { language: language as 'ts' | 'sh', line: index + 2, lines: [] };
    }
  }
  return snippets;
}

/** Texts of `wanted` that do not appear in `printed`. Each text is looked for after the text before it. */
export function missing(printed: string, wanted: readonly string[]): string[] {
  const plain = (text: string) => text.replace(/\s+/g, ' ');
  const all = plain(printed);
  let from = 0;
  return wanted.filter((text) => {
    const at = all.indexOf(plain(text), from);
    if (at >= 0) from = at + plain(text).length;
    return at < 0;
  });
}
