import { open } from 'node:fs/promises';
import { onDisk } from '../../util/bytes.js';

/** A line of a file, without its line break. */
export interface Line {
  readonly text: string;
  /** From 1 on. */
  readonly number: number;
  /** Whether a line break follows. */
  readonly isWhole: boolean;
  /** It's longer than any that is kept, and its text is empty. */
  readonly isTooLong: boolean;
}

const pieceBytes = 256 * 1024;

/** Against what isn't lines at all. A line of events has some KB, one of a job of thousands of workers some MB. */
const maxLineBytes = 64 * 1024 * 1024;

/** Lines of a file, some at a time; a file without any gives nothing. @throws as node:fs */
export async function* linesOf(path: string, maxBytes = maxLineBytes): AsyncGenerator<Line[]> {
  const file = await open(onDisk(path), 'r');
  try {
    const piece = Buffer.allocUnsafe(pieceBytes);
    let rest: Buffer[] = [];
    let restBytes = 0;
    let number = 1;
    const take = (isWhole: boolean): Line => {
      const isTooLong = restBytes > maxBytes;
      const text = isTooLong ? '' : Buffer.concat(rest).toString('utf8');
      rest = [];
      restBytes = 0;
      return { text, number: number++, isWhole, isTooLong };
    };
    const keep = (bytes: Buffer): void => {
      restBytes += bytes.length;
      if (restBytes > maxBytes) rest = [];
      else rest.push(Buffer.from(bytes));
    };
    for (;;) {
      const { bytesRead } = await file.read(piece, 0, pieceBytes, null);
      if (bytesRead === 0) break;
      const lines: Line[] = [];
      let from = 0;
      for (let end = piece.indexOf(10); end >= 0 && end < bytesRead; ) {
        keep(piece.subarray(from, end));
        lines.push(take(true));
        from = end + 1;
        end = piece.indexOf(10, from);
      }
      keep(piece.subarray(from, bytesRead));
      yield lines;
    }
    if (restBytes > 0) yield [take(false)];
  } finally {
    await file.close();
  }
}
