import { writeSync } from 'node:fs';

/** How long a console that takes nothing may hold us up. */
const patienceMs = 2_000;
const retryMs = 5;

/**
 * Writes to our own stdout or stderr.
 *
 * Not through `process.stdout` and `process.stderr`: for pipes they set O_NONBLOCK, which workers
 * that inherit the same pipe would feel. A console that's gone (EPIPE) or full for long is no
 * reason to fail: the job matters more than our words about it.
 */
export function writeConsole(fd: 1 | 2, text: string): void {
  let bytes: Uint8Array = Buffer.from(text);
  const giveUpAt = Date.now() + patienceMs;
  while (bytes.length > 0) {
    try {
      bytes = bytes.subarray(writeSync(fd, bytes));
    } catch (error) {
      // Somebody else who holds the pipe made it non-blocking, and it's full.
      const isFull = (error as NodeJS.ErrnoException).code === 'EAGAIN'; // all that writeSync throws
      if (!isFull || Date.now() > giveUpAt) return;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, retryMs);
    }
  }
}
