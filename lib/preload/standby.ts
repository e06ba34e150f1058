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

/** What the environment of a cold worker has whose imports are recorded in a file. */
export function learningEnv(
  pythonPath: string | undefined,
  file: string,
): { readonly PYTHONPATH: string; readonly REGROUP_LEARN: string } {
  return { PYTHONPATH: shimPath(pythonPath), REGROUP_LEARN: file };
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

/** What a recorded round tells of a script's imports. */
export interface Learned {
  /** In the order of their import: of the standard library and site-packages, never the user's own. */
  readonly modules: readonly string[];
  /** What the script did to its environment before the last of them. `undefined` removes. */
  readonly environment: ReadonlyMap<string, string | undefined>;
  /** Why this script's interpreters can't be warm, the first reason first. */
  readonly unsafe: readonly string[];
}

/**
 * What a worker has recorded in the file that REGROUP_LEARN named. Undefined if it has recorded nothing, which means that its
 * interpreter doesn't run what PYTHONPATH offers: a standby would run the script at once.
 *
 * @param text the file, read as `latin1` or as UTF-8; a line that's cut off at the end doesn't count
 */
export function learnedFrom(text: string): Learned | undefined {
  const lines = text.split('\n').slice(0, -1);
  if (!lines[0]?.startsWith('shim ')) return undefined;

  const modules: string[] = [];
  const unsafe: string[] = [];
  const environment = new Map<string, string | undefined>();
  // What follows the last import is none of ours.
  let since: [string, string | undefined][] = [];
  for (const line of lines) {
    const [kind, rest] = split(line, ' ');
    if (kind === 'module') {
      modules.push(rest);
      for (const [name, value] of since) environment.set(name, value);
      since = [];
    } else if (kind === 'set') since.push(split(rest, '='));
    else if (kind === 'unset') since.push([rest, undefined]);
    else if (kind === 'unsafe') unsafe.push(rest);
  }
  return { modules, environment, unsafe };
}

function split(text: string, at: string): [string, string] {
  const index = text.indexOf(at);
  return index < 0 ? [text, ''] : [text.slice(0, index), text.slice(index + at.length)];
}
