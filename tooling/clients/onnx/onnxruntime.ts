import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

/** The used part of onnxruntime-node, which is installed outside of the workspace. */
export interface OrtTensor {
  readonly type: string;
  readonly dims: readonly number[];
  readonly data: Float32Array | Float16Like | BigInt64Array;
}
type Float16Like = ArrayLike<number> & { slice(start?: number, end?: number): Float16Like };

export interface Session {
  readonly inputMetadata: readonly {
    readonly name: string;
    readonly type: string;
    readonly shape: readonly (number | string)[];
  }[];
  run(feeds: Record<string, OrtTensor>): Promise<Record<string, OrtTensor>>;
  release(): Promise<void>;
}

type Rows = readonly (readonly number[])[];

/** Sessions of onnxruntime-node, and the inputs of a text model. */
export interface Onnxruntime {
  open(path: string, options?: object): Promise<Session>;
  /** `[rows, length]` */
  integers(rows: Rows): OrtTensor;
  /** The cache of a session before its first token. */
  emptyPast(session: Session, batch: number): Record<string, OrtTensor>;
  /** Logits of a decoder, and its cache for the next tokens. */
  decode(
    session: Session,
    ids: Rows,
    mask: Rows,
    past: Record<string, OrtTensor>,
  ): Promise<{ logits: Float32Array; past: Record<string, OrtTensor> }>;
  /** Outputs of an encoder. */
  encode(session: Session, ids: Rows, mask: Rows): Promise<Record<string, OrtTensor>>;
}

/** @param modules the folder `node_modules` that contains onnxruntime-node */
export async function loadOnnxruntime(modules: string): Promise<Onnxruntime> {
  const ort = (await import(pathToFileURL(join(modules, 'onnxruntime-node/dist/index.js')).href)) as {
    Tensor: new (type: string, data: unknown, dims: readonly number[]) => OrtTensor;
    InferenceSession: { create(path: string, options?: object): Promise<Session> };
  };
  const integers = (rows: Rows) =>
    new ort.Tensor('int64', BigInt64Array.from(rows.flat(), BigInt), [rows.length, rows[0].length]);
  return {
    integers,
    open: (path, options = {}) => ort.InferenceSession.create(path, { logSeverityLevel: 3, ...options }),
    emptyPast(session, batch) {
      const inputs = session.inputMetadata.filter(({ name }) => name.startsWith('past_key_values.'));
      return Object.fromEntries(
        inputs.map(({ name, type, shape }) => {
          const dims = [batch, Number(shape[1]), 0, Number(shape[3])];
          return [name, new ort.Tensor(type, type === 'float16' ? new Uint16Array(0) : new Float32Array(0), dims)];
        }),
      );
    },
    async decode(session, ids, mask, past) {
      const { logits, ...present } = await session.run({
        input_ids: integers(ids),
        attention_mask: integers(mask),
        ...past,
      });
      const next = Object.entries(present).map(([name, value]) => [name.replace('present', 'past_key_values'), value]);
      return { logits: logits.data as Float32Array, past: Object.fromEntries(next) };
    },
    encode(session, ids, mask) {
      const segments = session.inputMetadata.some((input) => input.name === 'token_type_ids');
      return session.run({
        input_ids: integers(ids),
        attention_mask: integers(mask),
        ...(segments ? { token_type_ids: integers(ids.map((row) => row.map(() => 0))) } : {}),
      });
    },
  };
}
