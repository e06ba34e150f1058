import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { launchError } from '../errors.js';
import { packageRoot } from '../native/addon.js';

// The launcher's side of what python/regroup/standby says: docs/warm.md tells the protocol.

/** What a message says, in order; keys may repeat. The first field is `type`. */
export type Fields = readonly (readonly [key: string, value: string | Uint8Array])[];

/** A message as it was received: every value of each key, in order. */
export type Message = ReadonlyMap<string, readonly Buffer[]>;

/** The folder that comes first in a standby's PYTHONPATH, and in that of a worker that is learned from. @throws ERR_INTERNAL */
export function standbyFolder(): string {
  // From dist/, and from build/js/ in tests.
  for (const root of [packageRoot, join(packageRoot, '../..')]) {
    const folder = join(root, 'python/regroup/standby');
    if (existsSync(folder)) return folder;
  }
  throw launchError('ERR_INTERNAL', [`python/regroup/standby isn't in ${packageRoot}`]);
}

/**
 * What a standby's environment has beyond its worker's.
 *
 * @param pythonPath the worker's own PYTHONPATH
 * @param descriptor the number under which the standby inherits its end of the socket
 */
export function standbyEnv(
  pythonPath: string | undefined,
  descriptor: number,
): { readonly PYTHONPATH: string; readonly REGROUP_STANDBY: string } {
  return { PYTHONPATH: shimPath(pythonPath), REGROUP_STANDBY: `1:${descriptor}` };
}

/**
 * What the environment of a cold worker has whose imports are recorded.
 *
 * @param record a file that's there: the worker writes to no other that it finds at this path
 * @param varying variables that another worker, or the next round, has otherwise
 */
export function learningEnv(
  pythonPath: string | undefined,
  record: { readonly path: string; readonly device: number; readonly inode: number },
  varying: readonly string[],
): { readonly PYTHONPATH: string; readonly REGROUP_LEARN: string } {
  const names = varying.filter(name => /^\w+$/.test(name)).join(',');
  const target = `${record.device}:${record.inode}:${names}:${record.path}`;
  return { PYTHONPATH: shimPath(pythonPath), REGROUP_LEARN: target };
}

function shimPath(pythonPath: string | undefined): string {
  return pythonPath ? `${standbyFolder()}:${pythonPath}` : standbyFolder();
}

/** Bounds what a broken standby can make us keep; a list of 20,000 files is 2 MiB. */
const maxBodyBytes = 16 << 20;

/** A message as bytes: lengths are 32 bits, little-endian. */
export function encodeMessage(fields: Fields): Buffer {
  const parts = fields.flat().flatMap(each => {
    const bytes = Buffer.from(each as string);
    return [lengthOf(bytes.length), bytes];
  });
  const body = Buffer.concat(parts);
  return Buffer.concat([lengthOf(body.length), body]);
}

function lengthOf(count: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(count);
  return bytes;
}

/**
 * The whole messages at the beginning of what was received, and the bytes behind them. `malformed` if nothing that
 * follows could be one.
 */
export function decodeMessages(
  bytes: Buffer,
): { readonly messages: readonly Message[]; readonly rest: Buffer } | 'malformed' {
  const messages: Message[] = [];
  let rest = bytes;
  while (rest.length >= 4) {
    const size = rest.readUInt32LE(0);
    if (size > maxBodyBytes) return 'malformed';
    if (rest.length < 4 + size) break;
    const message = decodeMessage(rest.subarray(4, 4 + size));
    if (message === undefined) return 'malformed';
    messages.push(message);
    rest = rest.subarray(4 + size);
  }
  return { messages, rest };
}

/** A message without its length. Undefined where a field is cut off. */
export function decodeMessage(body: Buffer): Message | undefined {
  const message = new Map<string, Buffer[]>();
  let at = 0;
  const next = (): Buffer | undefined => {
    if (at + 4 > body.length) return undefined;
    const from = at + 4;
    const to = from + body.readUInt32LE(at);
    if (to > body.length) return undefined;
    at = to;
    return body.subarray(from, to);
  };
  while (at < body.length) {
    const key = next()?.toString();
    const value = next();
    if (key === undefined || value === undefined) return undefined;
    const values = message.get(key);
    if (values === undefined) message.set(key, [value]);
    else values.push(value);
  }
  return message;
}
