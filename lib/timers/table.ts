import type { TimerRequest } from './request.js';

/** Which timers run, and which have expired. It knows no clock. */

/** Protects the agent's memory from a process that acquires and never releases. */
const maxTimersOfOne = 1024;
/** The same for all timers of processes that aren't workers; these always have room. */
const maxOfStrangers = 4096;

/**
 * Which process of a number it is: a worker, which keeps its number until its round's end; one that began at that moment, in the
 * kernel's ticks; or nobody knows.
 */
export type Which = 'worker' | number | 'unknown';

/** What's due for one process. */
export interface Expired {
  readonly pid: number;
  readonly which: Which;
  /** The first that has expired of those that want a signal; else the first. */
  readonly scope: string;
  /** Number of the signal; absent: none of its timers wants one. */
  readonly signal?: number;
}

export interface TimerTable {
  /**
   * Starts a timer anew, or ends it. Those of another process that had the number are dropped.
   *
   * @param which absent: as far as it's known; enough for an end
   * @returns false where there's no room for it
   */
  take(request: TimerRequest, which?: Which): boolean;
  /** Whose timers run under that number; undefined: nobody's. */
  which(pid: number): Which | undefined;
  /** What has expired by then, and is dropped; where a signal follows, all timers of that process are. */
  due(nowMs: number): readonly Expired[];
  /** When the next one expires, or earlier where one has been released, in Unix milliseconds; undefined: none runs. */
  nextAtMs(): number | undefined;
  clear(): void;
}

/** Of one process. */
interface Timers {
  readonly which: Which;
  readonly byScope: Map<string, TimerRequest>;
}

export function timerTable(): TimerTable {
  const processes = new Map<number, Timers>();
  let ofStrangers = 0;
  let nextAtMs = Number.POSITIVE_INFINITY;

  function dueOf(pid: number, which: Which, timers: readonly TimerRequest[]): Expired | undefined {
    const inOrder = [...timers].sort((one, other) => one.expiresAtMs - other.expiresAtMs);
    const timer = inOrder.find(({ signal }) => signal > 0) ?? inOrder[0];
    if (timer === undefined) return undefined;
    const { scope, signal } = timer;
    return { pid, which, scope, ...(signal > 0 ? { signal } : {}) };
  }

  function drop(pid: number): void {
    const { which, byScope } = processes.get(pid) ?? {};
    if (which !== 'worker') ofStrangers -= byScope?.size ?? 0;
    processes.delete(pid);
  }

  return {
    take(request, which) {
      const { pid, scope, expiresAtMs } = request;
      if (which !== undefined && processes.get(pid)?.which !== which) drop(pid);
      const known = processes.get(pid);
      if (expiresAtMs < 0) {
        if (known?.byScope.delete(scope) && known.which !== 'worker') ofStrangers--;
        if (known?.byScope.size === 0) processes.delete(pid);
        return true;
      }
      const timers: Timers = known ?? { which: which ?? 'unknown', byScope: new Map() };
      const { byScope } = timers;
      if (!byScope.has(scope)) {
        if (byScope.size >= maxTimersOfOne) return false;
        const isStranger = timers.which !== 'worker';
        if (isStranger && ofStrangers >= maxOfStrangers) return false;
        if (isStranger) ofStrangers++;
      }
      processes.set(pid, timers);
      byScope.set(scope, request);
      nextAtMs = Math.min(nextAtMs, expiresAtMs);
      return true;
    },
    which: pid => processes.get(pid)?.which,
    due(nowMs) {
      const expired: Expired[] = [];
      if (nowMs < nextAtMs) return expired;
      nextAtMs = Number.POSITIVE_INFINITY;
      for (const [pid, { which, byScope }] of processes) {
        const timers = [...byScope.values()];
        const past = timers.filter(({ expiresAtMs }) => expiresAtMs <= nowMs);
        const due = dueOf(pid, which, past);
        if (due !== undefined) expired.push(due);
        for (const { scope, expiresAtMs } of timers) {
          if (due?.signal !== undefined || expiresAtMs <= nowMs) byScope.delete(scope);
          else nextAtMs = Math.min(nextAtMs, expiresAtMs);
        }
        if (which !== 'worker') ofStrangers -= timers.length - byScope.size;
        if (byScope.size === 0) processes.delete(pid);
      }
      return expired;
    },
    nextAtMs: () => (processes.size === 0 ? undefined : nextAtMs),
    clear() {
      processes.clear();
      ofStrangers = 0;
      nextAtMs = Number.POSITIVE_INFINITY;
    },
  };
}
