import { constants, open, unlink } from 'node:fs';
import { makeFifo } from '../system/files.js';
import { needPool } from '../system/pool.js';
import { lineCutter } from './request.js';

/** The named pipe that clients of file timers write to. */
export interface TimerPipe {
  /** Ends the reading, and removes the pipe. */
  close(): Promise<void>;
}

/** A pause behind each piece that's read, 64 KiB at most, and behind each turn with its lines. */
const restMs = 20;
/** The same in proportion to the time it took: whoever writes without end has a tenth of the agent's time at most. */
const restShare = 9;
/** That are looked at in one turn of the event loop. */
const maxLinesOfTurn = 128;

/**
 * Makes the pipe in the place of any file, as PyTorch's server does, and reads it without waiting for anybody.
 *
 * @param onLines whole lines in their order; `undefined` stands for some that are no requests
 * @throws as `makeFifo` and `needPool`, and of open(2)
 */
export async function openTimerPipe(
  path: string,
  onLines: (lines: readonly (string | undefined)[]) => void,
): Promise<TimerPipe> {
  const { Socket } = await import('node:net');
  needPool();
  await makeFifo(path);
  // With a writer of our own there's never an end, and no client is refused between two others.
  const fd = await opened(path, constants.O_RDWR | constants.O_NONBLOCK);
  const { cut } = lineCutter();
  let rest: NodeJS.Timeout | undefined;
  const reader = new Socket({ fd, readable: true, writable: false });
  reader.unref();
  reader.on('data', (piece: Buffer) => {
    reader.pause();
    const sinceMs = performance.now();
    turn(cut(piece), sinceMs);
  });
  function turn(lines: readonly (string | undefined)[], sinceMs: number): void {
    onLines(lines.slice(0, maxLinesOfTurn));
    const left = lines.slice(maxLinesOfTurn);
    const next = (): void => {
      if (left.length === 0) reader.resume();
      else turn(left, performance.now());
    };
    rest = setTimeout(next, Math.max(restMs, restShare * (performance.now() - sinceMs))).unref();
  }
  // Somebody may have closed it by its number; timers then expire unheard, as where nobody serves them.
  reader.on('error', () => reader.destroy());
  return {
    async close() {
      clearTimeout(rest);
      reader.destroy();
      // Somebody else may have removed it.
      await new Promise<void>(resolve => unlink(path, () => resolve()));
    },
  };
}

function opened(path: string, flags: number): Promise<number> {
  return new Promise((resolve, reject) =>
    open(path, flags, (error, fd) => (error === null ? resolve(fd) : reject(error))),
  );
}
