/**
 * Calls to files that may never return, since their disk may have died. Each runs on a thread of the addon's, and one
 * that hangs keeps its thread for as long as it does. So a disk gets a few of them at most, and whoever waits has a
 * deadline.
 */
export interface Disk {
  /**
   * Makes `calls` when it's their turn.
   *
   * @param boundMs from now, waiting for the turn included
   * @throws DiskError at the deadline, or at once where the disk answers nobody any more; what `calls` rejects with
   */
  run<T>(boundMs: number, calls: () => Promise<T>): Promise<T>;
}

/** The disk hasn't answered in time. What was asked of it may still happen. */
export class DiskError extends Error {
  override readonly name = 'DiskError';
  readonly code = 'ETIMEDOUT';
}

const defaultLanes = 2;

/**
 * @param lanes how many calls may be under way at once, and so how many threads a dead disk costs
 * @param keepsAlive whether Node stays for a deadline
 */
export function createDisk(lanes = defaultLanes, keepsAlive = true): Disk {
  const waiting = new Set<{ readonly begin: () => void; readonly fail: () => void }>();
  let busy = 0;
  /** Calls under way that nobody waits for any more. */
  let overdue = 0;

  function next(): void {
    const [turn] = waiting;
    if (turn === undefined || busy === lanes) return;
    waiting.delete(turn);
    turn.begin();
  }

  /** Once every lane is held by a call that has overrun its time, the others needn't find out for themselves. */
  function giveUp(): void {
    if (overdue < lanes) return;
    for (const turn of waiting) turn.fail();
    waiting.clear();
  }

  return {
    run(boundMs, calls) {
      return new Promise((resolve, reject) => {
        let state: 'waiting' | 'under-way' | 'overdue' = 'waiting';
        const fail = (): void => {
          clearTimeout(timer);
          reject(new DiskError('the disk does not answer'));
        };
        const leave = (): void => {
          clearTimeout(timer);
          busy--;
          if (state === 'overdue') overdue--;
          next();
        };
        const begin = (): void => {
          state = 'under-way';
          busy++;
          calls().finally(leave).then(resolve, reject);
        };
        const turn = { begin, fail };
        const timer = setTimeout(() => {
          fail();
          waiting.delete(turn);
          if (state !== 'under-way') return;
          state = 'overdue';
          overdue++;
          giveUp();
        }, boundMs);
        if (!keepsAlive) timer.unref();
        waiting.add(turn);
        next();
        giveUp();
      });
    },
  };
}
