import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { textOf } from '../util/bytes.js';

/** A file without a name, in memory, that a worker finds by a path below /proc: it's gone with the agent, however that ends. */
export interface Record {
  readonly path: string;
  readonly device: number;
  readonly inode: number;
  /** What has been written so far. */
  read(): string;
  close(): void;
}

/** @source Linux, include/uapi/asm-generic/fcntl.h: __O_TMPFILE, with O_DIRECTORY, which differs between machines */
const tmpFile = 0o20000000 | constants.O_DIRECTORY;
const folder = '/dev/shm';
/** Whoever writes stops before that. */
const maxBytes = 512 * 1024;

/** Undefined where there's no such memory: it's for what can be done without. */
export function openRecord(): Record | undefined {
  let fd: number;
  try {
    fd = openSync(folder, tmpFile | constants.O_RDWR, 0o600);
  } catch {
    // No /dev/shm, none that we may write to, or no descriptor left.
    return undefined;
  }
  const { dev: device, ino: inode } = fstatSync(fd);
  return {
    path: `/proc/${process.pid}/fd/${fd}`,
    device,
    inode,
    read() {
      const bytes = Buffer.alloc(maxBytes);
      return textOf(bytes.subarray(0, readSync(fd, bytes, 0, maxBytes, 0)));
    },
    close: () => closeSync(fd),
  };
}
