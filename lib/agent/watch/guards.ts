import type { AgentEvent } from '../../events.js';
import { type GuardedRound, type HangGuard, hangGuard } from '../../hangs/guard.js';
import type { FileTimers } from '../../timers/file-timers.js';
import { atMost } from '../../util/deferred.js';
import type { Job } from '../../workers/job.js';
import type { Core } from '../core.js';
import type { Rounds } from '../rounds.js';
import type { Happening } from '../step/state.js';

/** What finds out that a round's workers don't get on: hang rules, and the workers' own timers. */
export interface Guards {
  /** Makes what workers find at their start; absent: there's nothing to make. Never rejects. */
  prepare(): Promise<void> | undefined;
  /** Watches a round that has just started, till its record's `hangs` is closed. */
  watch(round: number): void;
  /** Resolves when nothing is left; absent: there was nothing. */
  close(): Promise<void> | undefined;
}

/** What guards need of the agent. */
export interface GuardSurroundings {
  readonly rounds: Rounds;
  core(): Core | undefined;
  happen(happening: Happening): void;
  tell(event: AgentEvent): void;
  nowMs(): number;
  /** Around what starts children by Node. */
  asGuests<T>(body: () => Promise<T>): Promise<T>;
}

/** A start waits so long for a pipe on a file system that may hang. */
const openMs = 5000;
/** A run's end waits so long for the pipe to be removed. */
const closeMs = 1000;

export function createGuards(job: Job, around: GuardSurroundings): Guards {
  const { rounds, core, happen, tell, nowMs, asGuests } = around;
  const { timerFile, settings } = job;
  let opening: Promise<void> | undefined;
  let timers: FileTimers | undefined;
  let prepared: Promise<void> | undefined;
  let isClosing = false;

  const trouble = (why: string): void =>
    tell({
      event: 'timers-trouble',
      reason: `nobody serves the workers' timers: ${why}`,
      atMs: nowMs(),
    });

  async function open(path: string): Promise<void> {
    try {
      // Only now: few jobs use them.
      const { openFileTimers } = await import('../../timers/file-timers.js');
      timers = await openFileTimers(path, settings.hang ?? {});
    } catch (error) {
      if (!isClosing) trouble(error instanceof Error ? error.message : String(error));
    }
  }

  async function openInTime(path: string): Promise<void> {
    opening = open(path);
    if ((await atMost(openMs, opening)) || isClosing) return;
    trouble(`${path} can't be made within ${openMs / 1000} s`);
  }

  return {
    prepare() {
      if (timerFile !== undefined) prepared ??= openInTime(timerFile);
      return prepared;
    },
    watch(round) {
      const record = rounds.get(round);
      if (record === undefined) return;
      const guarded: GuardedRound = {
        workers: record.workers,
        plans: record.plan.plans,
        files: record.files,
        path: job.env.PATH,
        disk: rounds.disk,
        slots: () => core()?.slots(round) ?? [],
        nowMs,
        tell,
        onHung: hang => happen({ event: 'hung', round, hang }),
        asGuests,
      };
      const signal = (localRank: number, number: number): void =>
        core()?.supervisor.signalLeader(record.plan.group, localRank, number);
      const guards = [
        ...(settings.hang === undefined ? [] : [hangGuard(settings.hang, guarded)]),
        ...(timers === undefined ? [] : [timers.watch({ ...guarded, signal })]),
      ];
      record.hangs = together(guards);
    },
    close() {
      isClosing = true;
      const closing = opening?.then(() => timers?.close());
      return closing && atMost(closeMs, closing).then(() => {});
    },
  };
}

function together(guards: readonly HangGuard[]): HangGuard {
  return {
    ended(localRank) {
      for (const guard of guards) guard.ended(localRank);
    },
    close() {
      for (const guard of guards) guard.close();
    },
  };
}
