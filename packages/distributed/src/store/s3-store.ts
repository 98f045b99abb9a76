import { type Store, StoreError } from './store.js';

/** Environment variables for access to a bucket, with the names that every S3 client uses. */
export interface S3Environment {
  readonly AWS_ACCESS_KEY_ID?: string;
  readonly AWS_SECRET_ACCESS_KEY?: string;
  readonly AWS_SESSION_TOKEN?: string;
  readonly AWS_REGION?: string;
  readonly AWS_DEFAULT_REGION?: string;
  /** The URL of a server other than Amazon's. */
  readonly AWS_ENDPOINT_URL?: string;
  readonly AWS_ENDPOINT_URL_S3?: string;
}

/** A request without an answer after this time is lost: a range of 2 GB takes 16 s at 1 Gb/s. */
const answerMilliseconds = 300_000;

/**
 * A bucket, or a part of one: `s3://bucket/prefix`. Objects are read by range, and published only if the name is free
 * (`If-None-Match: *`; for servers without that, a request checks it first).
 * @throws StoreError for an address without a bucket, or an environment without keys
 */
export async function s3Store(address: string, environment: S3Environment = process.env): Promise<Store> {
  const [, bucket, path = ''] = /^s3:\/\/([^/]+)(?:\/(.*))?$/.exec(address) ?? [];
  if (!bucket) throw new StoreError(`--store ${address}: s3://bucket/prefix was expected`);
  const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey } = environment;
  if (!accessKeyId || !secretAccessKey)
    throw new StoreError(`--store ${address}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY`);
  const region = environment.AWS_REGION ?? environment.AWS_DEFAULT_REGION ?? 'us-east-1';
  const endpoint = environment.AWS_ENDPOINT_URL_S3 ?? environment.AWS_ENDPOINT_URL;
  const { AwsClient } = await import('aws4fetch');
  const sessionToken = environment.AWS_SESSION_TOKEN;
  const client = new AwsClient({
    ...{ accessKeyId, secretAccessKey, region, service: 's3', retries: 0 },
    ...(sessionToken === undefined ? {} : { sessionToken }),
  });
  const base =
    endpoint === undefined
      ? `https://${bucket}.s3.${region}.amazonaws.com`
      : `${endpoint.replace(/\/$/, '')}/${bucket}`;
  const prefix = path.replace(/\/+$/, '');
  const urlOf = (name: string) =>
    `${base}/${[...(prefix ? [prefix] : []), name].join('/').split('/').map(encodeURIComponent).join('/')}`;

  const request = async (name: string, init: RequestInit, accepted: readonly number[]): Promise<Response> => {
    const shown = `${address.replace(/\/+$/, '')}/${name}`;
    let response: Response;
    try {
      response = await client.fetch(urlOf(name), { ...init, signal: AbortSignal.timeout(answerMilliseconds) });
    } catch (error) {
      const { cause, message } = error as Error & { cause?: { code?: string; message?: string } };
      throw new StoreError(`${shown}: the store does not answer (${cause?.code ?? cause?.message ?? message})`, true);
    }
    if (accepted.includes(response.status)) return response;
    const text = init.method === 'HEAD' ? '' : await response.text().catch(() => '');
    const said = /<Message>([^<]*)/.exec(text)?.[1] ?? text.slice(0, 200);
    const { status } = response;
    const hint = status === 403 ? ': check the keys, the region and the permissions' : '';
    throw new StoreError(
      `${shown}: the store answered ${status}${said ? ` (${said})` : ''}${hint}`,
      status >= 500 || status === 429 || status === 408 || status === 409,
    );
  };
  const read: Store['read'] = async (name, begin, end) => {
    if (begin !== undefined && begin === end) return new Uint8Array(0);
    const headers: Record<string, string> =
      begin === undefined && end === undefined
        ? {}
        : { range: `bytes=${begin ?? 0}-${end === undefined ? '' : end - 1}` };
    const response = await request(name, { headers }, [200, 206, 404]);
    const bytes = await response.arrayBuffer().then(
      (buffer) => new Uint8Array(buffer),
      (error: Error) => {
        throw new StoreError(`${address}/${name}: the answer ended early (${error.message})`, true);
      },
    );
    if (response.status === 404) return undefined;
    if (headers.range !== undefined && response.status !== 206)
      throw new StoreError(`${address}: ignores ranges: use another server`);
    if (end !== undefined && bytes.length !== end - (begin ?? 0))
      throw new StoreError(`${address}/${name}: ${bytes.length} bytes came, ${end - (begin ?? 0)} were expected`, true);
    return bytes;
  };
  const has = async (name: string) => (await request(name, { method: 'HEAD' }, [200, 404])).status === 200;
  return {
    name: address,
    read,
    has,
    async publish(name, bytes) {
      if (await has(name)) return false;
      const body = bytes as Uint8Array<ArrayBuffer>;
      const response = await request(name, { method: 'PUT', body, headers: { 'if-none-match': '*' } }, [200, 412]);
      await response.arrayBuffer().catch(() => {});
      return response.status === 200;
    },
    async remove(name) {
      await request(name, { method: 'DELETE' }, [200, 204, 404]);
    },
  };
}
