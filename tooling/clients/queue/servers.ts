import { type ChildProcess, spawn } from 'node:child_process';
import { createServer, type Server } from 'node:http';
import { connect, createServer as createTcpServer } from 'node:net';
import { join } from 'node:path';

/** A TCP port of the loopback that nobody uses. */
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

/** A Redis server with a password, that keeps nothing on the disk: when it is started again, all jobs are lost. */
export async function startRedis(
  binary: string,
  port: number,
  password: string,
  folder: string,
): Promise<ChildProcess> {
  const libraries = process.env.Q_REDIS_LIBRARIES;
  const child = spawn(
    binary,
    [
      ...['--port', `${port}`, '--bind', '127.0.0.1', '--requirepass', password, '--save', '', '--appendonly', 'no'],
      ...['--dir', folder, '--logfile', join(folder, 'redis.log')],
    ],
    { stdio: 'ignore', env: { ...process.env, ...(libraries ? { LD_LIBRARY_PATH: libraries } : {}) } },
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

/** Passes requests on after a while, and answers one in ten with 503. */
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
      // The signature is over the host that the client knows.
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
