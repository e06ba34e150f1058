import type { Hang, HangRule, WorkerIdentity } from '../events.js';
import type { HangOptions } from '../options/hangs.js';
import { duration } from '../util/duration.js';

/**
 * Which worker hangs, by the rules that are on; pure. Output is looked at now and then: what's new
 * counts as written at the look, so that a rule can be late by a quarter of its time and never early.
 */

/** What a look has found new of one worker. */
export interface Observation {
  readonly localRank: number;
  readonly wrote?: boolean;
  /** First groups of the lines that matched, in their order. */
  readonly matches?: readonly string[];
  /** Whether some of the worker's output couldn't be seen, and may have been anything. */
  readonly isUnknown?: boolean;
  /** CLOCK_MONOTONIC of the last beat; `none`: no client that has beaten is there any more. Absent: nobody knows. */
  readonly beat?: { readonly atMs: number; readonly step: number } | 'none';
  readonly ended?: boolean;
}

interface Watched {
  readonly worker: WorkerIdentity;
  /** Time until which the worker's output may have been anything. */
  readonly unknownAtMs?: number;
  readonly wroteAtMs?: number;
  /** When the last line came that counts, and the last that matched. */
  readonly countedAtMs?: number;
  readonly matchedAtMs?: number;
  readonly largest?: number;
  readonly badValue?: string;
  readonly beat?: { readonly atMs: number; readonly step: number };
  /** Told already; forgotten when it moves again. */
  readonly told: readonly HangRule[];
}

export interface HangState {
  readonly rules: HangOptions;
  readonly startedAtMs: number;
  /** Workers that haven't ended. */
  readonly workers: readonly Watched[];
  readonly progressed: boolean;
}

export interface Judgement {
  readonly state: HangState;
  readonly verdicts: readonly Hang[];
  /** When to look again; absent if nothing can be found any more. */
  readonly nextAtMs?: number;
}

export function watchFrom(
  rules: HangOptions,
  workers: readonly WorkerIdentity[],
  nowMs: number,
): HangState {
  return {
    rules,
    startedAtMs: nowMs,
    workers: workers.map(worker => ({ worker, told: [] })),
    progressed: false,
  };
}

export function judge(before: HangState, seen: readonly Observation[], nowMs: number): Judgement {
  const { rules } = before;
  const workers = before.workers.flatMap(watched => {
    const observation = seen.find(({ localRank }) => localRank === watched.worker.localRank);
    if (observation === undefined) return [watched];
    return observation.ended === true ? [] : [withNews(watched, observation, rules, nowMs)];
  });
  const state = {
    ...before,
    workers,
    progressed: before.progressed || workers.some(watched => hasProgressed(watched, rules)),
  };
  const due = dueOf(state).filter(({ watched, hang }) => !watched.told.includes(hang.rule));
  const ripe = due.filter(({ atMs }) => atMs <= nowMs);
  const verdicts = ripe.map(({ watched, hang, sinceMs }) => {
    const forMs = nowMs - sinceMs;
    return { worker: watched.worker, rule: hang.rule, forMs, message: hang.message(forMs) };
  });
  const told = workers.map(watched => ({
    ...watched,
    told: [
      ...watched.told,
      ...ripe.filter(each => each.watched === watched).map(({ hang }) => hang.rule),
    ],
  }));
  const next = Math.min(
    ...due.filter(({ atMs }) => atMs > nowMs).map(({ atMs }) => atMs),
    workers.length > 0 ? nowMs + lookEveryMs(rules) : Number.POSITIVE_INFINITY,
  );
  return {
    state: { ...state, workers: told },
    verdicts,
    ...(Number.isFinite(next) ? { nextAtMs: next } : {}),
  };
}

interface Due {
  readonly watched: Watched;
  readonly sinceMs: number;
  readonly atMs: number;
  readonly hang: { readonly rule: HangRule; readonly message: (forMs: number) => string };
}

/** Every rule that's running towards its end. */
function dueOf({ rules, startedAtMs, workers, progressed }: HangState): Due[] {
  const { silenceMs, expect, heartbeatMs, firstProgressMs } = rules;
  const due: Due[] = [];
  const add = (
    watched: Watched,
    rule: HangRule,
    [sinceMs, ms]: readonly [number, number],
    message: (forMs: number) => string,
  ): void => {
    due.push({ watched, sinceMs, atMs: sinceMs + ms, hang: { rule, message } });
  };

  // Most scripts print on rank 0 alone, so one worker's silence tells nothing; everybody's does.
  const last = latest(workers);
  // Rules about output begin anew where nobody knows what was written.
  const unknownMs = Math.max(
    Number.NEGATIVE_INFINITY,
    ...workers.flatMap(({ unknownAtMs }) => unknownAtMs ?? []),
  );
  const sinceStartMs = Math.max(startedAtMs, unknownMs);
  if (silenceMs !== undefined && last !== undefined) {
    const who =
      last.wroteAtMs === undefined ? 'none ever has' : `worker ${last.worker.rank} was the last`;
    add(
      last,
      'silence',
      [Math.max(last.wroteAtMs ?? startedAtMs, unknownMs), silenceMs],
      forMs => `no worker has written anything for ${duration(forMs)}; ${who}`,
    );
  }

  for (const watched of workers) {
    const { beat, countedAtMs, matchedAtMs, largest, badValue, unknownAtMs } = watched;
    if (expect !== undefined && badValue !== undefined) {
      const at = matchedAtMs ?? startedAtMs;
      add(watched, 'value', [at, 0], () => `the value of /${expect.pattern}/ is ${badValue}`);
    }
    if (expect !== undefined && countedAtMs !== undefined) {
      const stays = largest !== undefined && matchedAtMs !== countedAtMs;
      const sinceMs = Math.max(countedAtMs, unknownAtMs ?? countedAtMs);
      add(watched, 'expect', [sinceMs, expect.everyMs], forMs =>
        stays
          ? `the value of /${expect.pattern}/ hasn't grown beyond ${largest} for ${duration(forMs)}`
          : `no line like /${expect.pattern}/ for ${duration(forMs)}`,
      );
    }
    if (heartbeatMs !== undefined && beat !== undefined) {
      add(
        watched,
        'heartbeat',
        [beat.atMs, heartbeatMs],
        forMs => `no heartbeat for ${duration(forMs)}; the last was of step ${beat.step}`,
      );
    }
  }

  const [first] = workers;
  if (first !== undefined && !progressed) {
    if (firstProgressMs !== undefined) {
      add(
        first,
        'first-progress',
        [sinceStartMs, firstProgressMs],
        forMs => `no worker has made any progress within ${duration(forMs)}`,
      );
    } else if (expect !== undefined) {
      add(
        first,
        'expect',
        [sinceStartMs, expect.everyMs],
        forMs => `no line like /${expect.pattern}/ within ${duration(forMs)}`,
      );
    }
  }
  return due;
}

function withNews(
  watched: Watched,
  { wrote = false, matches = [], isUnknown = false, beat }: Observation,
  { expect }: HangOptions,
  nowMs: number,
): Watched {
  let next: Watched = watched;
  const forget = (...rules: HangRule[]): readonly HangRule[] =>
    next.told.filter(rule => !rules.includes(rule));
  if (wrote) next = { ...next, wroteAtMs: nowMs, told: forget('silence', 'first-progress') };
  for (const value of matches) next = withMatch(next, value, expect?.rule, nowMs);
  if (isUnknown) next = { ...next, unknownAtMs: nowMs };
  if (beat === 'none') {
    // Who has closed its client has said all that it wants to say.
    const { beat: _, ...rest } = next;
    next = { ...rest, told: forget('heartbeat') };
  } else if (beat !== undefined && beat.atMs !== next.beat?.atMs) {
    next = { ...next, beat, told: forget('heartbeat') };
  }
  return next;
}

function withMatch(
  watched: Watched,
  value: string,
  rule: 'finite' | 'grows' | undefined,
  nowMs: number,
): Watched {
  const moved: Watched = {
    ...watched,
    matchedAtMs: nowMs,
    countedAtMs: nowMs,
    told: watched.told.filter(told => told !== 'expect'),
  };
  if (rule === 'finite') {
    if (!/^[+-]?(nan|inf(inity)?)$/i.test(value.trim())) return moved;
    return { ...moved, badValue: value.trim() };
  }
  if (rule === 'grows') {
    const number = Number(value.replace(/[,_]/g, ''));
    if (number > (watched.largest ?? Number.NEGATIVE_INFINITY))
      return { ...moved, largest: number };
    // Before the first number there's nothing that could have stopped growing.
    if (watched.largest !== undefined) return { ...watched, matchedAtMs: nowMs };
  }
  return moved;
}

function hasProgressed(
  { wroteAtMs, matchedAtMs, beat }: Watched,
  { expect }: HangOptions,
): boolean {
  if (beat !== undefined || matchedAtMs !== undefined) return true;
  return expect === undefined && wroteAtMs !== undefined;
}

/** When each worker did last what a rule is about, by local rank; those that never did are absent. */
export function lastMovedMs({ workers }: HangState, rule: HangRule): ReadonlyMap<number, number> {
  return new Map(
    workers.flatMap(({ worker, wroteAtMs, countedAtMs, beat }): [number, number][] => {
      const byRule = { silence: wroteAtMs, expect: countedAtMs, value: countedAtMs };
      const atMs = { ...byRule, heartbeat: beat?.atMs, 'first-progress': wroteAtMs }[rule];
      return atMs === undefined ? [] : [[worker.localRank, atMs]];
    }),
  );
}

/** The one that wrote last; before any has, the first. */
function latest(workers: readonly Watched[]): Watched | undefined {
  return workers.reduce<Watched | undefined>(
    (last, watched) =>
      last === undefined || (watched.wroteAtMs ?? -1) > (last.wroteAtMs ?? -1) ? watched : last,
    undefined,
  );
}

/** A quarter of the shortest rule, so that nobody wakes up for rules that are off. */
function lookEveryMs({ silenceMs, expect, heartbeatMs, firstProgressMs }: HangOptions): number {
  const shortest = Math.min(
    ...[silenceMs, expect?.everyMs, firstProgressMs, heartbeatMs].filter(ms => ms !== undefined),
  );
  return Math.max(10, shortest / 4);
}
