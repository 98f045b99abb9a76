/**
 * Runs core's conformance suite, and products with quantized weights, in headless Chromium. A page on localhost runs
 * them on the browser's own WebGPU and posts the results. `chromium.ts CHROMIUM REPORT`.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

interface Found {
  readonly device: string;
  readonly passed: string[];
  readonly failed: string[];
}

const [chromium, report] = process.argv.slice(2) as [string, string];
const patience = 600_000;
const work = await mkdtemp(join(tmpdir(), 'q-chromium-'));
await build({
  entryPoints: [fileURLToPath(new URL('page.ts', import.meta.url))],
  outfile: join(work, 'page.js'),
  bundle: true,
  format: 'esm',
  conditions: ['@q/source'],
  logLevel: 'error',
});
const script = await readFile(join(work, 'page.js'));

let settle: (found: Found) => void = () => {};
const result = new Promise<Found>((resolve) => {
  settle = resolve;
});
const server = createServer((request, response) => {
  if (request.method === 'POST') {
    let body = '';
    request.on('data', (chunk) => {
      body += chunk;
    });
    request.on('end', () => {
      response.end();
      if (request.url === '/found') settle(JSON.parse(body) as Found);
      else console.log(body);
    });
    return;
  }
  const isScript = request.url === '/page.js';
  response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html');
  response.end(
    isScript ? script : '<!doctype html><title>kernels</title><script type="module" src="/page.js"></script>',
  );
});
await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
const { port } = server.address() as AddressInfo;

const browser = spawn(
  chromium,
  [
    '--headless=new',
    '--no-sandbox',
    '--disable-dev-shm-usage',
    '--enable-unsafe-webgpu',
    '--use-webgpu-adapter=swiftshader',
    `--user-data-dir=${work}`,
    `http://127.0.0.1:${port}/`,
  ],
  { stdio: 'ignore' },
);
const gone = new Promise<Found>((resolve) => {
  const end = (why: string) => resolve({ device: 'none', passed: [], failed: [why] });
  browser.once('error', (error) => end(`chromium did not start: ${error.message}`));
  browser.once('exit', (code) => end(`chromium ended with ${code} before the page was done`));
  setTimeout(() => end(`the page was not done after ${patience / 1000} s`), patience).unref();
});
const found = await Promise.race([result, gone]);
browser.kill('SIGKILL');
server.close();
server.closeAllConnections();
await rm(work, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
console.log(`Chromium on ${found.device}: ${found.passed.length} passed, ${found.failed.length} failed`);
for (const failure of found.failed) console.log(`failed: ${failure}`);
await writeFile(report, `${JSON.stringify({ passed: found.passed.length, failed: found.failed.length })}\n`);
process.exit(found.failed.length > 0 || found.passed.length === 0 ? 1 : 0);
