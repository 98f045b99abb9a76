/** Every example that a reader meets runs as it stands, has the types that it claims, and prints what it says. */
import { rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import ts from 'typescript';
import { afterAll, describe, expect, it } from 'vitest';
import { runShell, runTypeScript, writeSnippet } from './run-snippet.js';
import { collectSnippets, missing, root, type Snippet } from './snippets.js';

const snippets = collectSnippets();
const typescript = snippets
  .filter(({ language }) => language === 'ts')
  .map((snippet) => ({ snippet, file: writeSnippet(snippet) }));
const shell = snippets.filter(({ language }) => language === 'sh');
const title = ({ page, line }: Snippet) => `${page}:${line}`;

afterAll(() => {
  for (const folder of new Set(typescript.map(({ file }) => dirname(file))))
    rmSync(folder, { recursive: true, force: true });
});

it('every package has a README with an example', () => {
  const pages = new Set(typescript.map(({ snippet }) => snippet.page));
  const without = ts.sys
    .getDirectories(join(root, 'packages'))
    .filter((name) => name !== 'cli' && !pages.has(join('packages', name, 'README.md')));
  expect(without).toEqual([]);
});

describe.concurrent('runs', () => {
  it.each(typescript)('$snippet.page:$snippet.line', async ({ snippet, file }) => {
    const { code, out, err } = await runTypeScript(snippet, file);
    expect({ code, err: code === 0 ? '' : err }).toEqual({ code: 0, err: '' });
    expect(missing(out, snippet.prints), `printed:\n${out}`).toEqual([]);
  });

  it.each(shell.map((snippet) => [title(snippet), snippet] as const))('%s', async (_, snippet) => {
    const { code, err } = await runShell(snippet);
    expect({ code, err: code === 0 ? '' : err }).toEqual({ code: 0, err: '' });
  });
});

it('type-checks', () => {
  const check = (config: string, files: readonly string[]) => {
    if (files.length === 0) return [];
    const { config: json } = ts.readConfigFile(config, ts.sys.readFile);
    const { options } = ts.parseJsonConfigFileContent(json, ts.sys, dirname(config));
    const program = ts.createProgram(files, options);
    return files.flatMap((file) => ts.getPreEmitDiagnostics(program, program.getSourceFile(file)));
  };
  const pages = typescript.filter(({ snippet }) => snippet.folder === root).map(({ file }) => file);
  const packages = typescript.filter(({ snippet }) => snippet.folder !== root).map(({ file }) => file);
  const found = [
    ...check(resolve(root, 'tsconfig.base.json'), packages),
    ...check(resolve(root, 'tooling/readme/tsconfig.pages.json'), pages),
  ].map(({ file, start, messageText }) => {
    const place = typescript.find((entry) => resolve(entry.file) === resolve(file?.fileName ?? ''));
    const line = file && start !== undefined ? ts.getLineAndCharacterOfPosition(file, start).line : 0;
    const text = ts.flattenDiagnosticMessageText(messageText, ' ');
    return `${place?.snippet.page}:${(place?.snippet.line ?? 0) + line} ${text}`;
  });
  expect(found).toEqual([]);
});
