import { write, writeSync } from 'node:fs';
import { type Console, openConsole } from '../../logs/console.js';

/** How long a console that takes nothing may hold us up. */
export const patienceMs = 2_000;
const retryMs = 5;

/**
 * Writes all of a command's answer, however slowly it's read; one who's gone is no reason to fail. Signals are heard
 * meanwhile.
 *
 * Not through `process.stdout` and `process.stderr`: for pipes they set O_NONBLOCK, which others who have the same pipe
 * would feel.
 */
export async function answer(fd: 1 | 2, text: string): Promise<void> {
  let bytes: Uint8Array = Buffer.from(text);
  while (bytes.length > 0) {
    const written = await writeOnce(fd, bytes);
    if (written === undefined) return;
    bytes = bytes.subarray(written);
  }
}

/** @returns how many bytes were taken; undefined: nobody takes any, ever */
function writeOnce(fd: 1 | 2, bytes: Uint8Array): Promise<number | undefined> {
  return new Promise(resolve =>
    write(fd, bytes, (error, written) => {
      if (error === null) resolve(written);
      // Somebody else who holds the pipe made it non-blocking, and it's full.
      else if (error.code === 'EAGAIN') setTimeout(resolve, retryMs, 0);
      else resolve(undefined);
    }),
  );
}

/** What a command says while it has something to decide: nothing waits for whoever reads it. */
export interface Words {
  say(fd: 1 | 2, text: string): void;
  /**
   * Waits for the readers as long as they take bytes. For those who don't: while it's but our own words, seconds; while
   * it's workers' lines, as long as there's somebody to read them, or `linesMs`.
   *
   * @returns how many of the workers' lines nobody has read, roughly
   */
  written(options?: { readonly linesMs: number }): Promise<number>;
  /** Writes what is left, for a process that ends at once; blocks. */
  writtenNow(): void;
  /** Ends the wait. */
  hurry(): void;
}

/** Words of a command that has workers or clients. The addon is loaded with the first. */
export function createWords(): Words {
  let console: Console | undefined;
  return {
    say(fd, text) {
      if (text === '') return;
      try {
        console ??= openConsole();
        console.say(fd, text);
      } catch {
        // No addon, or no thread or descriptor to be had: that's what the words will be about.
        writeConsole(fd, text);
      }
    },
    async written(limit) {
      try {
        console ??= openConsole();
      } catch {
        return 0; // without the addon nothing has been said by it
      }
      return (await console.flush({ wordsMs: patienceMs, ...limit })) ?? 0;
    },
    writtenNow: () => console?.flushNow(patienceMs),
    hurry: () => console?.hurry(),
  };
}

/** Writes at once, and waits for a reader: what's left where there are no threads. */
function writeConsole(fd: 1 | 2, text: string): void {
  let bytes: Uint8Array = Buffer.from(text);
  const giveUpAt = Date.now() + patienceMs;
  while (bytes.length > 0) {
    try {
      bytes = bytes.subarray(writeSync(fd, bytes));
    } catch (error) {
      const isFull = (error as NodeJS.ErrnoException).code === 'EAGAIN'; // all that writeSync throws
      if (!isFull || Date.now() > giveUpAt) return;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, retryMs);
    }
  }
}
