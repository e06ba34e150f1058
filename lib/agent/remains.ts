import { closeSync, fstatSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import type { NativeStream, NativeTail } from '../native.js';
import { codeOf } from '../util/errno.js';
import { type ErrorFile, parseErrorFile } from './failures.js';

/** What a worker has left that tells why it failed: its error file, its last lines. */

/** Of each piped stream, for the failure report: some eighty lines. */
export const tailBytes = 8192;

/** More than any traceback; a worker that writes more isn't telling us anything. */
const maxErrorFileBytes = 4 * 1024 * 1024;

/** @param path absent where the worker was given none */
export function readErrorFile(path: string | undefined): ErrorFile {
  if (path === undefined) return { kind: 'absent' };

  try {
    const found = statSync(path);
    // A named pipe would make us wait for its writer.
    if (!found.isFile()) return { kind: 'malformed', reason: "isn't a file" };
    if (found.size > maxErrorFileBytes) {
      return { kind: 'malformed', reason: `has ${found.size} bytes` };
    }
    return parseErrorFile(readFileSync(path, 'utf8'));
  } catch (error) {
    return codeOf(error) === 'ENOENT'
      ? { kind: 'absent' }
      : { kind: 'malformed', reason: `can't be read: ${codeOf(error)}` };
  }
}

/** The last whole lines of a worker's stderr, from the pump or from the file that it went to. */
export function tailOf(
  stderr: NativeStream | undefined,
  tail: NativeTail | undefined,
): string | undefined {
  const bytes = stderr?.to === 'file' ? readTail(stderr.path) : tail?.stderr;
  if (bytes === undefined) return undefined;

  const text = bytes.toString('utf8').trimEnd();
  // A full buffer begins in the middle of a line, as a rule.
  const lineAt = bytes.length < tailBytes ? 0 : text.indexOf('\n') + 1;
  return text.slice(lineAt);
}

function readTail(path: string): Buffer | undefined {
  let fd: number | undefined;
  try {
    fd = openSync(path, 'r');
    const { size } = fstatSync(fd);
    const bytes = Buffer.alloc(Math.min(size, tailBytes));
    return bytes.subarray(0, readSync(fd, bytes, 0, bytes.length, size - bytes.length));
  } catch {
    // The worker may have removed it; the report goes without.
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
