import type { Disk } from '../system/disk.js';
import { readPiece as readFrom } from '../system/files.js';
import { codeOf } from '../util/errno.js';

/** What's new in a log file: by size and content, not by times, since a file server's clock is not ours. */

export interface News {
  readonly wrote: boolean;
  /** First groups of the lines that matched, in their order. */
  readonly matches: readonly string[];
  /** Why not all of it was seen: what wasn't may have been anything. Completes "PATH …". */
  readonly unknown?: string;
}

export interface OutputReader {
  readonly path: string;
  /** All that had been written by now, or as much of it as could be read in time. */
  look(boundMs: number): Promise<News>;
}

/** Bytes of one read. The event loop goes on between two. */
const pieceBytes = 1024 * 1024;
/** A line without an end counts as one when it's so long. */
const maxLineBytes = 1024 * 1024;

/** @param pattern what's looked for in whole lines; absent where it only matters that something was written */
export function outputReader(path: string, pattern: RegExp | undefined, disk: Disk): OutputReader {
  /** Where reading goes on. */
  let at = 0;
  /** The beginning of a line whose end isn't there yet. */
  let rest: Buffer = Buffer.alloc(0);
  let wrote = false;
  let matches: string[] = [];
  let reading: Promise<string | undefined> | undefined;

  function take(bytes: Buffer): void {
    wrote = true;
    if (pattern === undefined) return;
    const all = rest.length === 0 ? bytes : Buffer.concat([rest, bytes]);
    const lastEnd = Math.max(all.lastIndexOf('\n'), all.lastIndexOf('\r')) + 1;
    const end = all.length - lastEnd > maxLineBytes ? all.length : lastEnd;
    rest = Buffer.from(all.subarray(end));
    for (const line of all
      .subarray(0, end)
      .toString('utf8')
      .split(/[\r\n]+/)) {
      const match = pattern.exec(line);
      if (match !== null) matches.push(match[1] ?? '');
    }
  }

  /** Reads one piece, and tells the file's size if there's more. */
  async function readPiece(limit: number, boundMs: number): Promise<number> {
    const maxBytes = (): number =>
      pattern === undefined ? 0 : Math.max(0, Math.min(pieceBytes, limit - at));
    const [size, bytes] = await disk.run(boundMs, async (): Promise<[number, Buffer]> => {
      let found = await readFrom(path, at, maxBytes());
      // Somebody has truncated it: what's there now is new.
      if (found.bytes < at) {
        at = 0;
        rest = Buffer.alloc(0);
        found = await readFrom(path, at, maxBytes());
      }
      const isNew = pattern === undefined && found.bytes > at;
      return [found.bytes, isNew ? Buffer.alloc(1) : found.piece];
    });
    if (bytes.length > 0) take(bytes);
    at = pattern === undefined ? size : at + bytes.length;
    return bytes.length === 0 ? at : size;
  }

  /** Up to what had been written when it began, so that it ends. @returns why it couldn't go on */
  async function readOn(boundMs: number): Promise<string | undefined> {
    try {
      let limit = Number.POSITIVE_INFINITY;
      do limit = Math.min(limit, await readPiece(limit, boundMs));
      while (at < limit);
      return undefined;
    } catch (error) {
      return codeOf(error) === 'ETIMEDOUT' ? "doesn't answer" : `can't be read: ${codeOf(error)}`;
    }
  }

  return {
    path,
    async look(boundMs) {
      reading ??= readOn(boundMs).finally(() => {
        reading = undefined;
      });
      const unknown = await inTime(reading, boundMs);
      const news = { wrote, matches };
      wrote = false;
      matches = [];
      return unknown === undefined ? news : { ...news, unknown };
    },
  };
}

/** Waits for a look until its limit; what's read after that is the next look's. */
async function inTime(
  reading: Promise<string | undefined>,
  boundMs: number,
): Promise<string | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const bound = new Promise<string>(resolve => {
    timer = setTimeout(resolve, boundMs, 'is written faster than it can be read');
  });
  const outcome = await Promise.race([reading, bound]);
  clearTimeout(timer);
  return outcome;
}
