import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import type { RunStatus } from '../../control/words.js';

/** The output of a run's workers, as its files have it. */

/** Of a file's end, for its last lines; and of each read. */
const pieceBytes = 1024 * 1024;

/** Reads what's new in the files of some ranks, from call to call. */
export interface LogReader {
  /** @returns whole lines, each behind `[RANK]: `, those of each file together */
  read(status: RunStatus): string;
}

interface Seen {
  offset: number;
  /** Of a line that hasn't ended. */
  rest: string;
}

/** @param ranks absent: all. @param lines of each file that's there at the first call */
export function logReader(ranks: readonly number[] | undefined, lines: number): LogReader {
  const seen = new Map<string, Seen>();
  let isFirst = true;
  return {
    read(status) {
      const texts = filesOf(status, ranks).map(({ rank, path }) => {
        const before = seen.get(path);
        const { text, now } = readFrom(path, before ?? { offset: isFirst ? -1 : 0, rest: '' });
        seen.set(path, now);
        const whole = text.split('\n').slice(0, -1);
        const shown = before === undefined && isFirst ? whole.slice(-lines || whole.length) : whole;
        return shown.map(line => `[${rank}]: ${line}\n`).join('');
      });
      isFirst = false;
      return texts.join('');
    },
  };
}

/** Files of the workers of the present round on that node. */
export function filesOf(
  { workers }: RunStatus,
  ranks: readonly number[] | undefined,
): readonly { readonly rank: number; readonly path: string }[] {
  return workers
    .filter(({ rank }) => ranks === undefined || ranks.includes(rank))
    .flatMap(({ rank, stdout, stderr }) => {
      const paths = new Set([stdout, stderr].filter(path => path !== undefined));
      return [...paths].map(path => ({ rank, path }));
    });
}

/** @param before offset -1: near the end */
function readFrom(path: string, before: Seen): { readonly text: string; readonly now: Seen } {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch {
    return { text: '', now: before }; // not there yet, or removed
  }
  try {
    const { size } = fstatSync(file);
    let offset = before.offset < 0 ? Math.max(0, size - pieceBytes) : before.offset;
    // The script may have begun it anew.
    if (offset > size) offset = 0;
    const piece = Buffer.alloc(Math.min(pieceBytes, size - offset));
    const bytes = readSync(file, piece, 0, piece.length, offset);
    const text = before.rest + piece.toString('utf8', 0, bytes);
    const end = text.lastIndexOf('\n') + 1;
    return {
      text: text.slice(0, end),
      now: { offset: offset + bytes, rest: text.slice(end) },
    };
  } finally {
    closeSync(file);
  }
}
