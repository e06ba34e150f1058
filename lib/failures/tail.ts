import type { Disk } from '../system/disk.js';
import { readPiece } from '../system/files.js';

/** The last lines of a worker's stderr. */

/** Bytes that are kept of each stream's end for the failure report: some eighty lines. */
export const tailBytes = 8192;

/** Where they are: a file that the worker wrote to by itself, or what the pump has kept of a pipe. */
export interface TailSource {
  readonly path?: string;
  readonly bytes?: Buffer;
}

/** @returns whole lines; undefined where there are none to be had */
export async function readTail(
  { path, bytes }: TailSource,
  disk: Disk,
  boundMs: number,
): Promise<string | undefined> {
  if (path === undefined) return bytes === undefined ? undefined : wholeLines(bytes);
  return disk
    .run(boundMs, () => readPiece(path, -tailBytes, tailBytes))
    .then(
      ({ piece }) => wholeLines(piece),
      () => undefined, // the worker may have removed it, or the disk is dead; the report goes without
    );
}

function wholeLines(bytes: Buffer): string {
  const text = bytes.toString('utf8').trimEnd();
  // A full buffer begins in the middle of a line, as a rule.
  const lineAt = bytes.length < tailBytes ? 0 : text.indexOf('\n') + 1;
  return text.slice(lineAt);
}
