export interface NativeFolderPlan {
  readonly path: string;
  readonly mode: number;
  readonly mayBeThere: boolean;
}

/** What stat(2) tells of a file. */
export interface NativeFileFacts {
  readonly mode: number;
  readonly bytes: number;
  /** Unix time in milliseconds, with fractions, by the clock of its file system. */
  readonly writtenAtMs: number;
}

/** Where a file of ours goes, and what its folder may hold of files whose names begin with `kind`. */
export interface NativeTrustedPlace {
  /** Above the folder: it must be there. */
  readonly base: string;
  readonly folder: string;
  readonly name: string;
  readonly kind: string;
  readonly maxFiles: number;
  readonly maxBytes: number;
}

/** What has come of an errand: `errno` and `syscall` where it failed. */
export interface NativeFileAnswer {
  readonly id: number;
  readonly errno?: number;
  readonly syscall?: string;
  /** The folder that couldn't be made. */
  readonly index?: number;
  /** Of `lookAt` and `read`. */
  readonly facts?: NativeFileFacts;
  /** Of `read`. */
  readonly bytes?: Buffer;
  /** Of `append`: bytes of the lines that the file has taken, also where it failed then. */
  readonly written?: number;
  /** Of `mark`. */
  readonly marks?: readonly string[];
}

/**
 * Whole errands at files, each on one of the addon's threads for them: a disk that doesn't answer keeps a thread, and costs
 * the other errands a moment. They are told by `onDone`, in any order. Node stays for them, but not for those of `mark` and of
 * `readTrusted` and `writeTrusted`: nobody needs what these give.
 *
 * Each throws with `code` (EAGAIN) and `syscall` where no thread can be had.
 */
export interface NativeFiles {
  /** Makes folders in their order, up to the first that can't be made. */
  makeFolders(id: number, folders: readonly NativeFolderPlan[]): void;
  /** Removes a file, or a folder with all that's in it; nothing if it isn't there. */
  removeTree(id: number, path: string): void;
  lookAt(id: number, path: string): void;
  /**
   * Reads a regular file from an offset on, up to its end or `maxBytes`, of which there are 64 MiB at most; of other
   * files nothing. Below 0 the offset counts from the end.
   */
  read(id: number, path: string, offset: number, maxBytes: number): void;
  /** The file has this text then, and nothing else. */
  write(id: number, path: string, text: string): void;
  /**
   * Appends whole lines to a file, which is made if it's missing, and kept open. Never waits for a pipe: ENXIO where it has no
   * reader; EAGAIN where it's full, behind which the rest is to follow. One call at a time for each path.
   */
  append(id: number, path: string, lines: string): void;
  /** Closes what `append` has opened; what's under way goes on. Unknown paths: nothing. */
  closeAppended(path: string): void;
  /** `NANOSECONDS:BYTES` of when each was written and how long it is; empty for what can't be looked at. */
  mark(id: number, paths: readonly string[]): void;
  /** Makes a FIFO for us alone, in the place of any file that's there, but not of a folder. */
  makeFifo(id: number, path: string): void;
  /** As `read` from the beginning, where nobody else can have written the file: else EPERM of `trust`. */
  readTrusted(id: number, folder: string, name: string, maxBytes: number): void;
  /** Puts a file there whole or not at all, and makes its folder below `base` for us alone. EPERM of `trust` as above. */
  writeTrusted(id: number, place: NativeTrustedPlace, text: string): void;
  /** What's under way goes on, and isn't told. Waits for it, a second for what hangs. Idempotent. */
  close(): void;
}
