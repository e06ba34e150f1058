import { native } from '../native/addon.js';
import type {
  NativeFileAnswer,
  NativeFileFacts,
  NativeFiles,
  NativeTrustedPlace,
} from '../native/files.js';
import { codeOf, describeErrno } from '../util/errno.js';

/**
 * The errands that the agent has at files, each as one call on a thread of the addon's, apart from the event loop. Not by
 * node:fs: that takes several calls for each, which go through the few threads that names are looked up by as well, and
 * starts all of them for the first.
 */

/** What a file is, as stat(2) tells it. */
export interface FileFacts {
  readonly kind: 'file' | 'folder' | 'other';
  readonly mode: number;
  readonly bytes: number;
  /** Unix time in milliseconds, with fractions, by the clock of its file system. */
  readonly writtenAtMs: number;
}

/** A part of a file. */
export interface FilePiece extends FileFacts {
  /** Nothing of what isn't a regular file. */
  readonly piece: Buffer;
}

/** A folder to be made. */
export interface FolderPlan {
  readonly path: string;
  /** @default 0o777 */
  readonly mode?: number;
  /** Whether it's fine that it's there already. @default false */
  readonly mayBeThere?: boolean;
}

/** Makes folders in their order. @throws of the first that can't be made, with its `path` */
export async function makeFolders(folders: readonly FolderPlan[]): Promise<void> {
  const plans = folders.map(({ path, mode = 0o777, mayBeThere = false }) => ({
    path,
    mode,
    mayBeThere,
  }));
  await ask(
    (files, id) => files.makeFolders(id, plans),
    index => plans[index]?.path,
  );
}

/** A file or a folder with all that's in it; nothing if it isn't there. */
export async function removeAll(path: string): Promise<void> {
  await ask(
    (files, id) => files.removeTree(id, path),
    () => path,
  );
}

export async function statOf(path: string): Promise<FileFacts> {
  const { facts } = await ask(
    (files, id) => files.lookAt(id, path),
    () => path,
  );
  return factsOf(facts as NativeFileFacts); // it succeeded
}

/**
 * Reads a part of a file, and never waits for a named pipe's writer.
 *
 * @param offset below 0 it counts from the end, up to the beginning
 * @param maxBytes 64 MiB at most; there are fewer at the file's end
 */
export async function readPiece(
  path: string,
  offset: number,
  maxBytes: number,
): Promise<FilePiece> {
  const answer = await ask(
    (files, id) => files.read(id, path, offset, maxBytes),
    () => path,
  );
  return pieceOf(answer);
}

/** More than any file of the kernel's has that's read as a whole. */
const maxTextBytes = 4 * 1024 * 1024;

export async function readText(path: string): Promise<string> {
  return (await readPiece(path, 0, maxTextBytes)).piece.toString('utf8');
}

export async function writeText(path: string, text: string): Promise<void> {
  await ask(
    (files, id) => files.write(id, path, text),
    () => path,
  );
}

/** What a file has taken of the lines that were to be appended. */
export interface Appended {
  readonly bytes: number;
  /** Why it has taken no more, as `ENOSPC`; absent: it has taken all. */
  readonly code?: string;
}

/**
 * Appends whole lines to a file, which is made if it's missing, and kept open until `closeAppended`. A pipe is never waited
 * for: `ENXIO` where it has no reader; `EAGAIN` where it's full, behind which the rest is to follow. One call at a time for each path.
 */
export async function appendLines(path: string, lines: string): Promise<Appended> {
  let bytes = 0;
  const answer = ask(
    (files, id) => files.append(id, path, lines),
    () => path,
    taken => {
      bytes = taken.written ?? 0;
    },
  );
  return answer.then(
    () => ({ bytes }),
    error => ({ bytes, code: codeOf(error) ?? 'EIO' }),
  );
}

/** Closes what `appendLines` has opened, once nothing of it is under way. */
export function closeAppended(path: string): void {
  opened?.closeAppended(path);
}

/**
 * Makes a named pipe for us alone, in the place of any file that's there.
 *
 * @throws with EISDIR, EPERM and others of unlink(2) and mkfifo(3)
 */
export async function makeFifo(path: string): Promise<void> {
  await ask(
    (files, id) => files.makeFifo(id, path),
    () => path,
  );
}

/** What tells each file from one that takes its place: NANOSECONDS:BYTES; empty for what can't be looked at. */
export async function marksOf(paths: readonly string[]): Promise<readonly string[]> {
  const { marks } = await ask(
    (files, id) => files.mark(id, paths),
    index => paths[index],
  );
  return marks as readonly string[]; // it succeeded
}

/**
 * Reads a file that nobody else can have written: it and its folder are ours, and nobody else may write there.
 *
 * @param maxBytes 64 MiB at most; nothing of what isn't a regular file
 * @throws with the syscall `trust` where somebody else could
 */
export async function readTrusted(
  folder: string,
  name: string,
  maxBytes: number,
): Promise<FilePiece> {
  const answer = await ask(
    (files, id) => files.readTrusted(id, folder, name, maxBytes),
    () => `${folder}/${name}`,
  );
  return pieceOf(answer);
}

/**
 * Puts a file there whole or not at all, and makes its folder and those above it, for us alone. Then the oldest of its kind
 * are removed until the others are within the limits.
 *
 * @param place `base`: a folder above that must be there, for it may be a disk's that isn't mounted
 * @throws as `readTrusted`
 */
export async function writeTrusted(place: NativeTrustedPlace, text: string): Promise<void> {
  await ask(
    (files, id) => files.writeTrusted(id, place, text),
    () => `${place.folder}/${place.name}`,
  );
}

interface Wait {
  resolve(answer: NativeFileAnswer): void;
  reject(error: Error): void;
  pathOf(index: number): string | undefined;
  /** Sees the answer also where the errand has failed. */
  look?(answer: NativeFileAnswer): void;
}

const waits = new Map<number, Wait>();
let opened: NativeFiles | undefined;
let nextId = 0;

/**
 * @param pathOf of the folder with that index, or of the file
 * @param look sees the answer also where the errand has failed
 */
function ask(
  errand: (files: NativeFiles, id: number) => void,
  pathOf: (index: number) => string | undefined,
  look?: (answer: NativeFileAnswer) => void,
): Promise<NativeFileAnswer> {
  return new Promise((resolve, reject) => {
    opened ??= native().openFiles(settle);
    const id = nextId++;
    errand(opened, id);
    waits.set(id, { resolve, reject, pathOf, ...(look === undefined ? {} : { look }) });
  });
}

function settle(answers: readonly NativeFileAnswer[]): void {
  for (const answer of answers) {
    const wait = waits.get(answer.id);
    waits.delete(answer.id);
    wait?.look?.(answer);
    if (answer.errno === undefined) wait?.resolve(answer);
    else wait?.reject(fileError(answer, answer.errno, wait.pathOf(answer.index ?? 0)));
  }
}

/** An error as node:fs has it. */
function fileError(
  { syscall }: NativeFileAnswer,
  errno: number,
  path: string | undefined,
): NodeJS.ErrnoException {
  const { code, text } = describeErrno(errno);
  const error = new Error(`${code}: ${text}, ${syscall} '${path}'`);
  return Object.assign(error, { code, errno: -errno, syscall, path });
}

/** @source Linux, include/uapi/linux/stat.h */
const typeBits = { mask: 0o170000, file: 0o100000, folder: 0o040000 } as const;

function factsOf({ mode, bytes, writtenAtMs }: NativeFileFacts): FileFacts {
  const type = mode & typeBits.mask;
  const kind = type === typeBits.file ? 'file' : type === typeBits.folder ? 'folder' : 'other';
  return { kind, mode, bytes, writtenAtMs };
}

/** Of an errand that has read. */
function pieceOf({ facts, bytes }: NativeFileAnswer): FilePiece {
  return { ...factsOf(facts as NativeFileFacts), piece: bytes as Buffer }; // it succeeded
}
