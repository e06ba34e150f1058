import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import type { RunStatus } from '../../control/words.js';

/** The output of a run's workers, as its files have it. */

/** Of a file's end, for its last lines; and of each read. */
const pieceBytes = 1024 * 1024;

/** A file that has a rank's output. */
export interface LogFile {
  readonly rank: number;
  readonly path: string;
}

/** Reads what's new in files, from call to call. */
export interface LogReader {
  /** @returns whole lines, each behind `[RANK]: `, those of each file together; of each a MiB at most */
  read(files: readonly LogFile[]): string;
  /** All that's left in files that nobody writes to any more, in pieces; also a last line that has no end. */
  rest(files: readonly LogFile[]): Generator<string, void>;
}

interface Seen {
  /** -1: near the file's end. */
  readonly offset: number;
  /** Of a line that hasn't ended. */
  readonly rest: Buffer;
}

/** @param lines of each file at the first call of `read` */
export function logReader(lines: number): LogReader {
  const seen = new Map<string, Seen>();
  let isFirst = true;

  /** @returns undefined: there's nothing new */
  function more(path: string): string[] | undefined {
    const before = seen.get(path) ?? { offset: isFirst ? -1 : 0, rest: Buffer.alloc(0) };
    const { whole, now } = readFrom(path, before);
    seen.set(path, now);
    if (now.offset === before.offset) return undefined;
    return whole.split('\n').slice(0, -1);
  }
  const shown = (rank: number, of: readonly string[]): string =>
    of.map(line => `[${rank}]: ${line}\n`).join('');

  return {
    read(files) {
      const texts = files.map(({ rank, path }) => {
        const whole = more(path) ?? [];
        return shown(rank, isFirst ? whole.slice(-lines || whole.length) : whole);
      });
      isFirst = false;
      return texts.join('');
    },
    *rest(files) {
      for (const { rank, path } of files) {
        for (let whole = more(path); whole !== undefined; whole = more(path))
          yield shown(rank, whole);
        const { offset = 0, rest = Buffer.alloc(0) } = seen.get(path) ?? {};
        if (rest.length === 0) continue;
        seen.set(path, { offset, rest: Buffer.alloc(0) });
        yield shown(rank, [rest.toString()]);
      }
    },
  };
}

/** Files of the workers of the present round on that node. */
export function filesOf(
  { workers }: RunStatus,
  ranks: readonly number[] | undefined,
): readonly LogFile[] {
  return workers
    .filter(({ rank }) => ranks === undefined || ranks.includes(rank))
    .flatMap(({ rank, stdout, stderr }) => {
      const paths = new Set([stdout, stderr].filter(path => path !== undefined));
      return [...paths].map(path => ({ rank, path }));
    });
}

function readFrom(path: string, before: Seen): { readonly whole: string; readonly now: Seen } {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch {
    return { whole: '', now: before }; // not there yet, or removed
  }
  try {
    const { size } = fstatSync(file);
    let offset = before.offset < 0 ? Math.max(0, size - pieceBytes) : before.offset;
    // The script may have begun it anew.
    if (offset > size) offset = 0;
    const piece = Buffer.alloc(Math.min(pieceBytes, size - offset));
    const bytes = readSync(file, piece, 0, piece.length, offset);
    const text = Buffer.concat([before.rest, piece.subarray(0, bytes)]);
    const end = text.lastIndexOf(10) + 1;
    return {
      whole: text.toString('utf8', 0, end),
      now: { offset: offset + bytes, rest: Buffer.from(text.subarray(end)) },
    };
  } finally {
    closeSync(file);
  }
}
