import type { TimerRequest } from './request.js';

/** Which timers run, and which have expired. It knows no clock. */

/** Protects the agent's memory from a process that acquires and never releases. */
const maxTimersOfOne = 1024;
/** The same for pids that are nobody's; workers always have room. */
const maxStrangers = 1024;

/** What's due for one process. */
export interface Expired {
  readonly pid: number;
  /** The first that has expired of those that want a signal; else the first. */
  readonly scope: string;
  /** Number of the signal; absent: none of its timers wants one. */
  readonly signal?: number;
}

export interface TimerTable {
  /**
   * Starts a timer anew, or ends it.
   *
   * @param isWorker whether the process is known as a worker
   * @returns false where there's no room for it
   */
  take(request: TimerRequest, isWorker: boolean): boolean;
  /** What has expired by then; all timers of such a process are dropped. */
  due(nowMs: number): readonly Expired[];
  /** When the next one expires, in Unix milliseconds; undefined: none runs. */
  nextAtMs(): number | undefined;
  clear(): void;
}

export function timerTable(): TimerTable {
  const processes = new Map<number, Map<string, TimerRequest>>();

  function dueOf(pid: number, timers: readonly TimerRequest[]): Expired | undefined {
    const inOrder = [...timers].sort((one, other) => one.expiresAtMs - other.expiresAtMs);
    const timer = inOrder.find(({ signal }) => signal > 0) ?? inOrder[0];
    if (timer === undefined) return undefined;
    const { scope, signal } = timer;
    return { pid, scope, ...(signal > 0 ? { signal } : {}) };
  }

  return {
    take(request, isWorker) {
      const { pid, scope, expiresAtMs } = request;
      const timers = processes.get(pid);
      if (expiresAtMs < 0) {
        timers?.delete(scope);
        if (timers?.size === 0) processes.delete(pid);
        return true;
      }
      if (timers === undefined) {
        if (!isWorker && processes.size >= maxStrangers) return false;
        processes.set(pid, new Map([[scope, request]]));
        return true;
      }
      if (!timers.has(scope) && timers.size >= maxTimersOfOne) return false;
      timers.set(scope, request);
      return true;
    },
    due(nowMs) {
      const expired: Expired[] = [];
      for (const [pid, timers] of processes) {
        const past = [...timers.values()].filter(({ expiresAtMs }) => expiresAtMs <= nowMs);
        const due = dueOf(pid, past);
        if (due === undefined) continue;
        expired.push(due);
        processes.delete(pid);
      }
      return expired;
    },
    nextAtMs() {
      let next: number | undefined;
      for (const timers of processes.values())
        for (const { expiresAtMs } of timers.values())
          next = next === undefined || expiresAtMs < next ? expiresAtMs : next;
      return next;
    },
    clear: () => processes.clear(),
  };
}
