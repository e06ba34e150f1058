/** How long `flush` waits for a console that takes nothing. */
export interface NativePatience {
  /** If workers' lines are among what it hasn't taken. Absent: as long as it has a reader. */
  readonly linesMs?: number;
  /** If there are but our own words. */
  readonly wordsMs: number;
}

export interface NativeFlushed {
  readonly id: number;
  /** Lines of workers that the consoles haven't taken, roughly. */
  readonly unshownLines: number;
}

/**
 * Our own words on stdout and stderr. They are written by the output thread, which carries workers' lines as well: no
 * call waits for a reader, and no line is torn.
 */
export interface NativeConsole {
  /**
   * Whole lines, in the order of the calls. Those for which there's no room any more are dropped, counted and told.
   *
   * @throws with `code` (EAGAIN, EMFILE…) if the thread can't be started
   */
  say(console: 1 | 2, lines: string): void;
  /**
   * Waits until the consoles have taken what they were given by now, and what ended groups still have for them in
   * their files; or have gone; or have taken nothing for too long. `onFlushed` is told, once per call.
   *
   * @returns false if there's nothing to wait for; then nothing is told
   */
  flush(id: number, patience: NativePatience): boolean;
  /** The same for a process that ends at once: blocks, `boundMs` at most. */
  flushNow(boundMs: number): void;
  /** Ends all waits of this process. */
  hurry(): void;
  /** What it has said is still written, but not waited for. Idempotent. */
  close(): void;
}
