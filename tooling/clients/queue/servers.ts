import { type ChildProcess, spawn } from 'node:child_process';
import { chown, mkdir, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { connect, createServer as createTcpServer } from 'node:net';
import { join } from 'node:path';

/** A free TCP port of the loopback. */
export const freePort = () =>
  new Promise<number>((resolve) => {
    const server = createTcpServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });

async function answers(port: number): Promise<void> {
  for (let i = 0; i < 600; i++) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => {
        socket.destroy();
        resolve(true);
      });
      socket.on('error', () => resolve(false));
    });
    if (open) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`nothing answers at port ${port}`);
}

/** Files of a self-signed certificate for 127.0.0.1. */
export interface Certificate {
  readonly certificate: string;
  readonly key: string;
}

export async function makeCertificate(folder: string): Promise<Certificate> {
  const [certificate, key] = ['server.crt', 'server.key'].map((name) => join(folder, name));
  await runToEnd('openssl', [
    ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-keyout', key, '-out', certificate],
    ...['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1'],
  ]);
  return { certificate, key };
}

/** Runs a program that ends by itself. @returns its output */
export function runToEnd(
  program: string,
  words: readonly string[],
  options: { readonly uid?: number; readonly gid?: number } = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, words, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (data) => {
        said += data;
      });
    child.on('error', reject);
    child.on('close', (code) =>
      code === 0 ? resolve(said) : reject(new Error(`${program} ended with ${code}: ${said}`)),
    );
  });
}

export interface RedisOptions {
  readonly binary: string;
  readonly port: number;
  readonly password: string;
  readonly folder: string;
  /** With it the server only accepts TLS. */
  readonly tls?: Certificate;
}

/** A Redis server with a password that keeps nothing on the disk: all jobs are lost when it is started again. */
export async function startRedis({ binary, port, password, folder, tls }: RedisOptions): Promise<ChildProcess> {
  const libraries = process.env.Q_REDIS_LIBRARIES;
  const listens = tls
    ? [
        ...['--port', '0', '--tls-port', `${port}`, '--tls-cert-file', tls.certificate, '--tls-key-file', tls.key],
        ...['--tls-ca-cert-file', tls.certificate, '--tls-auth-clients', 'no'],
      ]
    : ['--port', `${port}`];
  const child = spawn(
    binary,
    [
      ...[...listens, '--bind', '127.0.0.1', '--requirepass', password, '--save', '', '--appendonly', 'no'],
      ...['--dir', folder, '--logfile', join(folder, `redis-${port}.log`)],
    ],
    { stdio: 'ignore', env: { ...process.env, ...(libraries ? { LD_LIBRARY_PATH: libraries } : {}) } },
  );
  await answers(port);
  return child;
}

export interface PostgresOptions {
  /** Folder of `initdb` and `postgres`. */
  readonly binaries: string;
  readonly port: number;
  readonly password: string;
  /** An empty folder for the server. */
  readonly folder: string;
}

/**
 * A PostgreSQL server with a user `q` and a password, only on the loopback. PostgreSQL refuses to run as root, so
 * root starts it as the user nobody.
 */
export async function startPostgres({ binaries, port, password, folder }: PostgresOptions): Promise<ChildProcess> {
  const root = process.getuid?.() === 0;
  const owner = root ? { uid: 65534, gid: 65534 } : {};
  await mkdir(folder);
  const secret = join(folder, 'password');
  await writeFile(secret, `${password}\n`);
  if (root) for (const path of [folder, secret]) await chown(path, 65534, 65534);
  const data = join(folder, 'data');
  await runToEnd(
    join(binaries, 'initdb'),
    ['-D', data, '-U', 'q', `--pwfile=${secret}`, '-A', 'scram-sha-256', '-E', 'UTF8', '--no-sync'],
    owner,
  );
  const child = spawn(
    join(binaries, 'postgres'),
    ['-D', data, '-p', `${port}`, '-c', 'listen_addresses=127.0.0.1', '-c', `unix_socket_directories=${folder}`],
    { ...owner, stdio: 'ignore' },
  );
  await answers(port);
  return child;
}

/** The S3 server of npm, with one bucket `q`. */
export async function startS3(module: string, folder: string): Promise<{ port: number; close(): Promise<void> }> {
  const { default: S3rver } = await import(join(module, 'lib', 's3rver.js'));
  const port = await freePort();
  const server = new S3rver({
    ...{ port, address: '127.0.0.1', directory: folder, silent: true, configureBuckets: [{ name: 'q' }] },
  });
  await server.run();
  return { port, close: () => server.close() };
}

/** Passes requests on after a pause, and answers one in ten with 503. */
export async function startTroubledProxy(
  target: number,
  { delay, every }: { readonly delay: number; readonly every: number },
): Promise<{ readonly port: number; readonly failed: () => number; close(): void }> {
  let [requests, failed] = [0, 0];
  const port = await freePort();
  const server: Server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    await new Promise((resolve) => setTimeout(resolve, delay));
    if (++requests % every === 0) {
      failed++;
      response.writeHead(503).end();
      return;
    }
    const { host: _, connection: __, ...headers } = request.headers;
    const answer = await fetch(`http://127.0.0.1:${target}${request.url}`, {
      method: request.method,
      // The signature contains the host that the client knows.
      headers: { ...(headers as Record<string, string>), host: `127.0.0.1:${port}` },
      ...(chunks.length > 0 ? { body: Buffer.concat(chunks) } : {}),
    }).catch(() => undefined);
    if (!answer) {
      response.writeHead(502).end();
      return;
    }
    const body = Buffer.from(await answer.arrayBuffer());
    const length = answer.headers.get('content-length') ?? `${body.length}`;
    response.writeHead(answer.status, { 'content-length': length }).end(body);
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', () => resolve()));
  return { port, failed: () => failed, close: () => server.close() };
}
