import * as fs from 'node:fs';
import { onDisk } from '../util/bytes.js';
import { needPool } from './pool.js';

/**
 * The file calls that the agent makes apart from its event loop, by Node's pool of threads. Not node:fs/promises, which
 * takes a start some milliseconds to load and to use.
 */

type Done<T> = (error: NodeJS.ErrnoException | null, value: T) => void;

function called<T>(call: (done: Done<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    needPool();
    call((error, value) => {
      if (error === null || error === undefined) resolve(value);
      else reject(error);
    });
  });
}

export function makeDir(path: string, mode = 0o777): Promise<void> {
  return called<void>(done => fs.mkdir(onDisk(path), { mode }, error => done(error)));
}

export function removeDir(path: string): Promise<void> {
  return called<void>(done => fs.rmdir(onDisk(path), error => done(error)));
}

/** A file or a folder with all that's in it; nothing if it isn't there. */
export function removeAll(path: string): Promise<void> {
  return called<void>(done =>
    fs.rm(onDisk(path), { recursive: true, force: true }, error => done(error)),
  );
}

export function namesIn(folder: string): Promise<string[]> {
  return called<string[]>(done => fs.readdir(onDisk(folder), done));
}

export function statOf(path: string): Promise<fs.Stats> {
  return called<fs.Stats>(done => fs.stat(onDisk(path), done));
}

export function readText(path: string): Promise<string> {
  return called<string>(done => fs.readFile(onDisk(path), 'utf8', done));
}

export function writeText(path: string, text: string): Promise<void> {
  return called<void>(done => fs.writeFile(onDisk(path), text, error => done(error)));
}

/** An open file, for as long as `whileOpen` takes. */
export interface OpenFile {
  stat(): Promise<fs.Stats>;
  /** Up to so many bytes from there on; fewer at the file's end. */
  read(offset: number, bytes: number): Promise<Buffer>;
}

/** Opens it to read, and never waits for a named pipe's writer. */
export async function whileOpen<T>(path: string, body: (file: OpenFile) => Promise<T>): Promise<T> {
  const flags = fs.constants.O_RDONLY | fs.constants.O_NONBLOCK;
  const fd = await called<number>(done => fs.open(onDisk(path), flags, done));
  try {
    return await body({
      stat: () => called<fs.Stats>(done => fs.fstat(fd, done)),
      read: (offset, bytes) => readFrom(fd, offset, Buffer.allocUnsafe(bytes)),
    });
  } finally {
    await called<void>(done => fs.close(fd, error => done(error as NodeJS.ErrnoException | null))); // null or an error
  }
}

async function readFrom(fd: number, offset: number, into: Buffer): Promise<Buffer> {
  let length = 0;
  while (length < into.length) {
    const got = await called<number>(done =>
      fs.read(fd, into, length, into.length - length, offset + length, done),
    );
    if (got === 0) break;
    length += got;
  }
  return into.subarray(0, length);
}
