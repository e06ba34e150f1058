import type { Entry, Revision, WatchEvent } from './coordination.js';

/**
 * The frames of our own server: see native/core/coordination/frames.h, which they agree with byte for byte.
 */

/** What a connection begins with. */
export const preface = Buffer.from('\xc7regroup', 'latin1');
export const version = 2;
/** Of a request, with its head. */
export const maxRequestBytes = 4 * 2 ** 20;
/** Of an answer: the server divides what it tells, and refuses what would be larger. */
export const maxAnswerBytes = 64 * 2 ** 20;
/** Of an answer of whoever isn't known to be our server yet. */
export const maxGreetingBytes = 1024;
export const lengthBytes = 4;
const headBytes = 9;

/** A comparison or change whose lease is its id. */
export type FrameCompare =
  | { readonly key: string; readonly is: 'absent' }
  | { readonly key: string; readonly modified: Revision }
  | { readonly key: string; readonly value: string };
export type FrameChange =
  | { readonly put: string; readonly value: string; readonly lease?: string | undefined }
  | { readonly delete: string };

export type FrameRequest =
  | { readonly ask: 'hello' }
  | { readonly ask: 'get'; readonly prefix: string }
  | {
      readonly ask: 'txn';
      readonly compares: readonly FrameCompare[];
      readonly changes: readonly FrameChange[];
    }
  | { readonly ask: 'grant'; readonly ttlMs: number }
  | { readonly ask: 'renew' | 'revoke'; readonly lease: string }
  | { readonly ask: 'watch'; readonly prefix: string; readonly from: Revision }
  | { readonly ask: 'unwatch'; readonly watch: number }
  | { readonly ask: 'goodbye' }
  | { readonly ask: 'proof'; readonly nonce: Buffer; readonly proof: Buffer };

export type FrameAnswer =
  | {
      readonly type: 'welcome';
      readonly version: number;
      readonly incarnation: string;
      /** What the server is reached at, as itself sees it: HOST:PORT. Empty: it didn't say. */
      readonly address: string;
      /** It takes nothing before a proof of the job's token, for which this is its part. */
      readonly nonce?: Buffer;
    }
  | { readonly type: 'entries'; readonly revision: Revision; readonly entries: readonly Entry[] }
  | {
      readonly type: 'txn-done';
      readonly isDone: boolean;
      readonly revision: Revision;
      readonly entries: readonly Entry[];
    }
  | { readonly type: 'leased'; readonly lease: string; readonly ttlMs: number }
  | { readonly type: 'ok' }
  | { readonly type: 'proved'; readonly proof: Buffer }
  | { readonly type: 'changed'; readonly events: readonly WatchEvent[] }
  | { readonly type: 'refused'; readonly why: Why };

const whys = [
  'lease-lost',
  'full',
  'too-large',
  'twice',
  'compacted',
  'taken',
  'wrong-token',
] as const;
export type Why = (typeof whys)[number];

/** The peer doesn't speak the protocol. */
export class MalformedFrame extends Error {
  override readonly name = 'MalformedFrame';
}

const types: Readonly<Record<FrameRequest['ask'], number>> = {
  hello: 1,
  get: 2,
  txn: 3,
  grant: 4,
  renew: 5,
  revoke: 6,
  watch: 7,
  unwatch: 8,
  goodbye: 9,
  proof: 10,
};

/** @param id of the request, below 2^32: its answer has the same */
export function encodeFrame(id: number, request: FrameRequest): Buffer {
  const parts = bodyOf(request);
  const bytes = parts.reduce((sum, part) => sum + part.length, 0);
  const head = Buffer.allocUnsafe(headBytes);
  head.writeUInt32LE(headBytes - lengthBytes + bytes, 0);
  head.writeUInt8(types[request.ask], lengthBytes);
  head.writeUInt32LE(id, lengthBytes + 1);
  return Buffer.concat([head, ...parts]);
}

function bodyOf(request: FrameRequest): readonly Buffer[] {
  switch (request.ask) {
    case 'hello':
      return [u16(version)];
    case 'get':
      return text(request.prefix);
    case 'txn':
      return [
        u16(request.compares.length),
        ...request.compares.flatMap(compare),
        u16(request.changes.length),
        ...request.changes.flatMap(change),
      ];
    case 'grant':
      return [u32(Math.min(Math.ceil(request.ttlMs), 0xffff_ffff))];
    case 'renew':
    case 'revoke':
      return [id64(request.lease)];
    case 'watch':
      return [...text(request.prefix), u64(request.from)];
    case 'unwatch':
      return [u32(request.watch)];
    case 'goodbye':
      return [];
    case 'proof':
      return [u32(request.nonce.length), request.nonce, u32(request.proof.length), request.proof];
  }
}

function compare(wanted: FrameCompare): readonly Buffer[] {
  if ('is' in wanted) return [u8(0), ...text(wanted.key)];
  if ('modified' in wanted) return [u8(1), ...text(wanted.key), u64(wanted.modified)];
  return [u8(2), ...text(wanted.key), ...text(wanted.value)];
}

function change(wanted: FrameChange): readonly Buffer[] {
  if ('delete' in wanted) return [u8(2), ...text(wanted.delete)];
  return [u8(1), ...text(wanted.put), ...text(wanted.value), id64(wanted.lease ?? '0')];
}

function u8(value: number): Buffer {
  return Buffer.of(value);
}

function u16(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(2);
  bytes.writeUInt16LE(value);
  return bytes;
}

function u32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: number): Buffer {
  return id64(value.toString(16));
}

function id64(hex: string): Buffer {
  const bytes = Buffer.allocUnsafe(8);
  bytes.writeBigUInt64LE(BigInt(`0x${hex}`));
  return bytes;
}

function text(value: string): readonly Buffer[] {
  const bytes = Buffer.from(value, 'utf8');
  return [u32(bytes.length), bytes];
}

/** Whose answer it is, by its first bytes, if it's not our server's: no welcome is so long. */
export function strangerOf(start: Buffer): 'HTTP' | 'TLS' | undefined {
  if (start.toString('latin1') === 'HTTP') return 'HTTP';
  // An alert of any version, which is a record of a few bytes.
  return start[0] === 0x15 && start[1] === 0x03 && start[3] === 0 ? 'TLS' : undefined;
}

/** How many bytes a frame has behind its length. @throws MalformedFrame if that's more than `most` */
export function bytesAfter(length: Buffer, most = maxAnswerBytes): number {
  const bytes = length.readUInt32LE(0);
  if (bytes < headBytes - lengthBytes || bytes > most) {
    throw new MalformedFrame(`a frame of ${bytes} bytes`);
  }
  return bytes;
}

/** @param frame of the server, behind its length. @throws MalformedFrame */
export function decodeFrame(frame: Buffer): { readonly id: number; readonly answer: FrameAnswer } {
  const type = frame.readUInt8(0);
  const id = frame.readUInt32LE(1);
  const body = reader(frame.subarray(headBytes - lengthBytes));
  const answer = answerOf(type, body);
  // A welcome of later versions may say more.
  if (answer.type !== 'welcome' && !body.isAtEnd()) {
    throw new MalformedFrame(`a frame of type ${type} that is too long`);
  }
  return { id, answer };
}

function answerOf(type: number, body: Reader): FrameAnswer {
  switch (type) {
    case 0x81:
      return {
        type: 'welcome',
        version: body.number(2),
        incarnation: body.id(),
        address: body.isAtEnd() ? '' : body.text(),
        ...(body.isAtEnd() ? {} : { nonce: body.bytes() }),
      };
    case 0x82:
      return { type: 'entries', revision: body.number(8), entries: body.list(entry) };
    case 0x83:
      return {
        type: 'txn-done',
        isDone: body.number(1) === 1,
        revision: body.number(8),
        entries: body.list(entry),
      };
    case 0x84:
      return { type: 'leased', lease: body.id(), ttlMs: body.number(4) };
    case 0x85:
      return { type: 'ok' };
    case 0x86:
      return { type: 'changed', events: body.list(event) };
    case 0x87:
      return { type: 'proved', proof: body.bytes() };
    case 0x8f: {
      const why = whys[body.number(1) - 1];
      if (why === undefined) throw new MalformedFrame('a refusal without a reason');
      return { type: 'refused', why };
    }
    default:
      throw new MalformedFrame(`a frame of type ${type}`);
  }
}

function entry(body: Reader): Entry {
  const key = body.text();
  const value = body.text();
  const created = body.number(8);
  const modified = body.number(8);
  const lease = body.id();
  return { key, value, created, modified, ...(lease === '0' ? {} : { lease }) };
}

function event(body: Reader): WatchEvent {
  const kind = body.number(1);
  if (kind === 1) return { type: 'put', entry: entry(body) };
  if (kind !== 2) throw new MalformedFrame(`a change of kind ${kind}`);
  return { type: 'delete', key: body.text(), modified: body.number(8) };
}

/** Reads a frame's body in order. @throws MalformedFrame past its end */
interface Reader {
  number(bytes: 1 | 2 | 4 | 8): number;
  /** Eight bytes, as a hexadecimal number. */
  id(): string;
  text(): string;
  /** As a text, of whatever bytes. */
  bytes(): Buffer;
  list<T>(read: (body: Reader) => T): T[];
  isAtEnd(): boolean;
}

function reader(bytes: Buffer): Reader {
  let at = 0;
  const take = (length: number): Buffer => {
    if (length > bytes.length - at) throw new MalformedFrame('a frame that ends too early');
    at += length;
    return bytes.subarray(at - length, at);
  };
  const own: Reader = {
    number(length) {
      const taken = take(length);
      if (length < 8) return taken.readUIntLE(0, length);
      const value = Number(taken.readBigUInt64LE());
      if (!Number.isSafeInteger(value)) throw new MalformedFrame(`a revision of ${value}`);
      return value;
    },
    id: () => take(8).readBigUInt64LE().toString(16),
    text: () => own.bytes().toString('utf8'),
    bytes: () => take(own.number(4)),
    list(read) {
      const count = own.number(4);
      const items = [];
      while (items.length < count) items.push(read(own)); // each takes bytes, so it ends
      return items;
    },
    isAtEnd: () => at === bytes.length,
  };
  return own;
}
