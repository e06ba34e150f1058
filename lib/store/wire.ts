import { unreachable } from '../util/unreachable.js';

/**
 * TCPStore on the wire, as a client sees it: requests to bytes, bytes to replies. Pure.
 *
 * There's no framing and no negotiation: little-endian fields back to back, and a reply can only
 * be read by whoever knows what was asked. So a lost byte can't be made up for: whoever meets
 * a {@link MalformedReply} must drop the connection.
 *
 * @source pytorch v1.13.1, v2.1.2, v2.13.0: torch/csrc/distributed/c10d/TCPStore*.{hpp,cpp}
 */

/** A numbering of the operations. A: PyTorch 1.13 and 2.0; B: 2.1; D: 2.2 and later, with a hello. */
export type Dialect = 'A' | 'B' | 'D';

export type Request =
  | { readonly op: 'validate' | 'cancelWait' | 'numKeys' | 'listKeys' }
  | { readonly op: 'ping'; readonly nonce: number }
  | { readonly op: 'get' | 'deleteKey' | 'queuePop' | 'queueLen'; readonly key: string }
  | {
      readonly op: 'set' | 'append' | 'queuePush';
      readonly key: string;
      readonly value: Uint8Array;
    }
  | {
      readonly op: 'compareSet';
      readonly key: string;
      readonly expected: Uint8Array;
      readonly desired: Uint8Array;
    }
  | { readonly op: 'add'; readonly key: string; readonly delta: bigint }
  | { readonly op: 'barrier'; readonly key: string; readonly worldSize: bigint }
  | { readonly op: 'check' | 'wait' | 'multiGet'; readonly keys: readonly string[] }
  | { readonly op: 'multiSet'; readonly pairs: readonly (readonly [string, Uint8Array])[] };

export type Op = Request['op'];

/** A client and a server of different releases agree on what both of them have. */
const numbers: Readonly<Record<Op, { readonly [D in Dialect]?: number }>> = {
  validate: { D: 0 },
  set: { A: 0, B: 0, D: 1 },
  compareSet: { A: 1, B: 1, D: 2 },
  get: { A: 2, B: 2, D: 3 },
  add: { A: 3, B: 3, D: 4 },
  check: { A: 4, B: 4, D: 5 },
  wait: { A: 5, B: 5, D: 6 },
  numKeys: { A: 6, B: 6, D: 7 },
  deleteKey: { A: 8, B: 7, D: 8 },
  append: { B: 8, D: 9 },
  multiGet: { B: 9, D: 10 },
  multiSet: { B: 10, D: 11 },
  cancelWait: { B: 11, D: 12 },
  ping: { D: 13 },
  queuePush: { D: 14 },
  queuePop: { D: 15 },
  queueLen: { D: 16 },
  listKeys: { D: 17 },
  barrier: { D: 18 },
};

/** The number of `op`; nothing where the dialect lacks it. */
export function numberOf(dialect: Dialect, op: Op): number | undefined {
  return numbers[op][dialect];
}

/** What follows VALIDATE. @source pytorch v2.2.2, torch/csrc/distributed/c10d/TCPStoreBackend.hpp */
const magic = 0x3c85f7ce;

/** `request` as a client of `dialect` sends it. The caller has asked {@link numberOf} before. */
export function encodeRequest(dialect: Dialect, request: Request): Buffer {
  const number = numberOf(dialect, request.op);
  if (number === undefined) throw new TypeError(`dialect ${dialect} has no ${request.op}`);

  const fields = fieldsOf(request);
  const size = fields.reduce<number>((sum, field) => sum + sizeOf(field), 1);
  const bytes = Buffer.allocUnsafe(size);
  let at = bytes.writeUInt8(number, 0);
  for (const field of fields) at = write(bytes, at, field);
  return bytes;
}

/** A `u32`, an `i64` or `u64`, a string with its length, bytes with their length. */
type Field = number | bigint | string | Uint8Array;

function fieldsOf(request: Request): readonly Field[] {
  switch (request.op) {
    case 'validate':
      return [magic];
    case 'cancelWait':
    case 'numKeys':
    case 'listKeys':
      return [];
    case 'ping':
      return [request.nonce];
    case 'get':
    case 'deleteKey':
    case 'queuePop':
    case 'queueLen':
      return [request.key];
    case 'set':
    case 'append':
    case 'queuePush':
      return [request.key, request.value];
    case 'compareSet':
      return [request.key, request.expected, request.desired];
    case 'add':
      return [request.key, request.delta];
    case 'barrier':
      return [request.key, request.worldSize];
    case 'check':
    case 'wait':
    case 'multiGet':
      return [BigInt(request.keys.length), ...request.keys];
    case 'multiSet':
      return [BigInt(request.pairs.length), ...request.pairs.flat()];
    default:
      return unreachable(request);
  }
}

function sizeOf(field: Field): number {
  if (typeof field === 'number') return 4;
  if (typeof field === 'bigint') return 8;
  return 8 + (typeof field === 'string' ? Buffer.byteLength(field) : field.length);
}

function write(bytes: Buffer, at: number, field: Field): number {
  if (typeof field === 'number') return bytes.writeUInt32LE(field, at);
  if (typeof field === 'bigint') return bytes.writeBigInt64LE(field, at);

  const length = sizeOf(field) - 8;
  const start = bytes.writeBigUInt64LE(BigInt(length), at);
  if (typeof field === 'string') bytes.write(field, start);
  else bytes.set(field, start);
  return start + length;
}

/** The peer has sent what no store would; the stream can't be resynchronised. */
export class MalformedReply extends Error {
  override readonly name = 'MalformedReply';
}

/**
 * Reads one reply: yields how many bytes it needs next, is given exactly those, and returns what
 * they mean. So it needs no more than it has been sent, and looks at each byte once.
 *
 * @throws MalformedReply
 */
export type Reading<T> = Generator<number, T, Buffer>;

/** Protect the reader from a peer that announces what never comes, and from one that sends it. */
export interface ReplyLimits {
  readonly valueBytes: number;
  /** Keys of LIST_KEYS. */
  readonly listKeys: number;
}

export function* readI64(): Reading<bigint> {
  const bytes = yield 8;
  return bytes.readBigInt64LE();
}

/** A number of things. */
export function* readCount(): Reading<number> {
  const count = yield* readI64();
  if (count < 0n || count > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new MalformedReply(`a count of ${count}`);
  }
  return Number(count);
}

export function* readValue({ valueBytes }: ReplyLimits): Reading<Buffer> {
  const bytes = yield 8;
  const length = bytes.readBigUInt64LE();
  if (length > BigInt(valueBytes)) {
    throw new MalformedReply(`a value of ${length} bytes, where ${valueBytes} are accepted`);
  }
  return length === 0n ? Buffer.alloc(0) : yield Number(length);
}

/** MULTI_GET's reply has no count. */
export function* readValues(count: number, limits: ReplyLimits): Reading<Buffer[]> {
  const values: Buffer[] = [];
  for (let i = 0; i < count; i++) values.push(yield* readValue(limits));
  return values;
}

/** CHECK's: whether all are there. */
export function* readPresence(): Reading<boolean> {
  const status = yield* readStatus();
  if (status > 1) throw new MalformedReply(`status ${status}, where 0 or 1 is due`);
  return status === 0;
}

/**
 * WAIT's and BARRIER's. A cancelled one is answered by `01`, or by `00 01` if its release was on
 * its way already.
 */
export function* readRelease(isCancelled: () => boolean): Reading<'released' | 'cancelled'> {
  const status = yield* readStatus();
  if (status === 0 && !isCancelled()) return 'released';
  if (status === 0) {
    const next = yield* readStatus();
    if (next === 1) return 'cancelled';
    throw new MalformedReply(`status ${next}, where 1 is due`);
  }
  if (status === 1 && isCancelled()) return 'cancelled';
  throw new MalformedReply(`status ${status}, where 0 is due`);
}

/** PING's. */
export function* readNonce(sent: number): Reading<void> {
  const bytes = yield 4;
  const nonce = bytes.readUInt32LE();
  if (nonce !== sent) throw new MalformedReply('an echo of something else than was sent');
}

/** QUEUE_POP's: nothing if the queue is empty. */
export function* readPopped(limits: ReplyLimits): Reading<Buffer | undefined> {
  const lengthBefore = yield* readCount();
  return lengthBefore === 0 ? undefined : yield* readValue(limits);
}

/** LIST_KEYS's, as they're stored. */
export function* readKeys(limits: ReplyLimits): Reading<string[]> {
  const count = yield* readCount();
  if (count > limits.listKeys) {
    throw new MalformedReply(`${count} keys, where ${limits.listKeys} are accepted`);
  }
  const keys: string[] = [];
  for (let i = 0; i < count; i++) keys.push((yield* readValue(limits)).toString());
  return keys;
}

function* readStatus(): Reading<number> {
  const bytes = yield 1;
  return bytes.readUInt8();
}
