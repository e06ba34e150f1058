import { native } from '../native/addon.js';
import type { NativePatience } from '../native/output.js';

/** Our own words on this process's stdout and stderr, which nobody waits for but `flush`. */
export interface Console {
  /**
   * Writes whole lines, in the order of the calls, and never waits for a reader.
   *
   * @throws with `code` if there's no thread to be had for it
   */
  say(fd: 1 | 2, lines: string): void;
  /**
   * Waits until stdout and stderr have taken what we said and what workers that are gone still have for them.
   *
   * @returns how many of the workers' lines they haven't taken, roughly; absent: there's nothing to wait for
   */
  flush(patience: NativePatience): Promise<number> | undefined;
  /** Blocks until they have, or the time is over. For a process that ends at once. */
  flushNow(boundMs: number): void;
  /** Ends every wait of this process. */
  hurry(): void;
  close(): void;
}

/** @throws ERR_NATIVE_MISSING */
export function openConsole(): Console {
  const waits = new Map<number, (unshownLines: number) => void>();
  let nextId = 0;
  const console = native().openConsole(batch => {
    for (const { id, unshownLines } of batch) {
      waits.get(id)?.(unshownLines);
      waits.delete(id);
    }
  });
  return {
    say: console.say,
    flush(patience) {
      const id = nextId++;
      if (!console.flush(id, patience)) return undefined;
      return new Promise(resolve => waits.set(id, resolve));
    },
    flushNow: console.flushNow,
    hurry: console.hurry,
    close: console.close,
  };
}
