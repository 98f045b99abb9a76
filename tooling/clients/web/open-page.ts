import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join } from 'node:path';
import type { Readable } from 'node:stream';

export interface Page {
  /** Folder for the browser's profile. */
  readonly work: string;
  /** The content at a path of the server. */
  files(path: string): Readable | undefined;
  /** The module that the page runs. */
  readonly script: string;
  /** Settings of the page, served at `/settings.json`. */
  readonly settings: object;
}

const patience = 300_000;
const types: Readonly<Record<string, string>> = { '.mjs': 'text/javascript', '.wasm': 'application/wasm' };

/** Opens a page in headless Chromium, and returns the data that it posts to `/found/NAME` until it posts to `/done`. */
export async function openPage(chromium: string, page: Page): Promise<ReadonlyMap<string, number[] | string>> {
  const found = new Map<string, number[] | string>();
  const feeds = await readFile(new URL('feeds.mjs', import.meta.url), 'utf8');
  const texts: Readonly<Record<string, readonly [type: string, text: string]>> = {
    '/': ['text/html', '<!doctype html><title>files</title><script type="module" src="/page.mjs"></script>'],
    '/page.mjs': ['text/javascript', page.script],
    '/feeds.mjs': ['text/javascript', feeds],
    '/settings.json': ['application/json', JSON.stringify(page.settings)],
  };
  let done: () => void = () => {};
  const finished = new Promise<void>((resolve) => {
    done = resolve;
  });
  const server = createServer(async (request, response) => {
    const path = request.url as string;
    if (request.method === 'POST') {
      const parts: Buffer[] = [];
      for await (const part of request) parts.push(part as Buffer);
      response.end();
      if (path === '/done') done();
      else found.set(path.replace('/found/', ''), JSON.parse(Buffer.concat(parts).toString()));
      return;
    }
    const [type, text] = texts[path] ?? [types[extname(path)] ?? 'application/octet-stream', undefined];
    response.setHeader('content-type', type);
    if (text !== undefined) {
      response.end(text);
      return;
    }
    const stream = page.files(path);
    if (stream) stream.on('error', () => response.writeHead(404).end()).pipe(response);
    else response.writeHead(404).end();
  });
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  const { port } = server.address() as AddressInfo;
  const flags = ['--headless=new', '--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'];
  const profile = `--user-data-dir=${join(page.work, 'browser')}`;
  const browser = spawn(chromium, [...flags, profile, `http://127.0.0.1:${port}/`], { stdio: 'ignore' });
  const gone = new Promise<void>((resolve) => {
    browser.once('error', () => resolve());
    browser.once('exit', () => resolve());
    setTimeout(resolve, patience).unref();
  });
  await Promise.race([finished, gone]);
  browser.kill('SIGKILL');
  server.close();
  return found;
}
