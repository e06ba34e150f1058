import type {
  RestartCause,
  RestartedEvent,
  RestartPhases,
  RestartSummary,
} from '../../events/restarts.js';
import { unreachable } from '../../util/unreachable.js';
import type { Moment } from './moments.js';

/**
 * The clock of a run's restarts: moments in, what to tell out. Times are CLOCK_MONOTONIC in milliseconds.
 */
export interface RestartClock {
  /** Whether the first use of a store that this node serves is told. */
  readonly seesScript: boolean;
  readonly launchedAtMs: number;
  /** The round whose workers train, and since when; absent: none does. */
  readonly training?: { readonly round: number; readonly sinceMs: number };
  /** The restart that's under way. */
  readonly restart?: Underway;
  readonly byCause: Readonly<Partial<Record<RestartCause, number>>>;
  readonly lostMs: number;
  readonly trainedMs: number;
}

interface Underway {
  readonly cause: RestartCause;
  /** The new one, once it's given. */
  readonly round?: number;
  /** The phase that it's in. Invariant: in `script` the round is given. */
  readonly phase: keyof RestartPhases;
  /** Since when. */
  readonly sinceMs: number;
  readonly phases: RestartPhases;
  /** The store of `round` was used before we heard that its workers have started. */
  readonly usedAtMs?: number;
}

type Told = readonly [RestartClock, readonly RestartedEvent[]];

export function startClock(seesScript: boolean): RestartClock {
  return { seesScript, launchedAtMs: 0, byCause: {}, lostMs: 0, trainedMs: 0 };
}

/** What follows from a moment: the clock after it, and the restart that's known whole now. */
export function tick(clock: RestartClock, moment: Moment): Told {
  const { atMs } = moment;
  const { restart } = clock;
  switch (moment.what) {
    case 'launched':
      return [{ ...clock, launchedAtMs: atMs }, []];
    case 'cut':
      return onCut(clock, moment);
    case 'group-ended': {
      const [next, told] = settle(endTraining(clock, atMs));
      return [{ ...next, ...within(next, 'rendezvous', atMs) }, told];
    }
    case 'pause':
      return [{ ...clock, ...within(clock, 'paused', atMs) }, []];
    case 'join':
      return [{ ...clock, ...within(clock, 'rendezvous', atMs) }, []];
    case 'formed': {
      if (restart === undefined) return [clock, []];
      const { usedAtMs: _, ...entered } = enter(restart, 'started', atMs);
      return [{ ...clock, restart: { ...entered, round: moment.round } }, []];
    }
    case 'started':
      return onStarted(clock, moment);
    case 'used':
      return onUsed(clock, moment);
    case 'unused':
      return restart?.round === moment.round ? settle(clock) : [clock, []];
    case 'ended':
      return settle(endTraining(clock, atMs));
    default:
      return unreachable(moment);
  }
}

/** @returns undefined where no round has followed another one */
export function summaryOf(clock: RestartClock, nowMs: number): RestartSummary | undefined {
  const [{ byCause, lostMs, trainedMs, launchedAtMs }] = settle(endTraining(clock, nowMs));
  const restarts = Object.values(byCause).reduce((sum, count) => sum + count, 0);
  if (restarts === 0) return undefined;
  const wallMs = Math.max(0, nowMs - launchedAtMs);
  const effectiveRatio = wallMs > 0 ? Math.min(1, trainedMs / wallMs) : 0;
  return { restarts, byCause, lostMs, trainedMs, wallMs, effectiveRatio };
}

/** Where a round was cut before it ran, the restart that it was to end goes on. */
function onCut(
  clock: RestartClock,
  { cause, diedAtMs, atMs }: Extract<Moment, { what: 'cut' }>,
): Told {
  const sinceMs = Math.max(diedAtMs ?? atMs, clock.training?.sinceMs ?? 0);
  const [next, told] = settle(endTraining(clock, sinceMs));
  const { restart, ...rest } = next;
  if (cause === undefined) return [rest, told];
  if (restart !== undefined) return [{ ...rest, restart: enter(restart, 'stopped', atMs) }, told];
  const phase = diedAtMs === undefined ? 'stopped' : 'noticed';
  const begun = { cause, phase, sinceMs, phases: {} } as const;
  return [
    { ...rest, restart: diedAtMs === undefined ? begun : enter(begun, 'stopped', atMs) },
    told,
  ];
}

function onStarted(
  clock: RestartClock,
  { round, isServed, atMs }: Extract<Moment, { what: 'started' }>,
): Told {
  const restart = clock.restart && enter({ ...clock.restart, round }, 'script', atMs);
  const training = { round, sinceMs: Math.max(atMs, restart?.sinceMs ?? atMs) };
  if (restart === undefined) return [{ ...clock, training }, []];
  const started = { ...clock, training, restart };
  if (!clock.seesScript || !isServed) return settle(started);
  if (restart.usedAtMs === undefined) return [started, []];
  return onUsed(started, { what: 'used', round, atMs: restart.usedAtMs });
}

function onUsed(clock: RestartClock, { round, atMs }: Extract<Moment, { what: 'used' }>): Told {
  const { restart, training } = clock;
  const next =
    training?.round === round
      ? { ...clock, training: { round, sinceMs: Math.max(atMs, training.sinceMs) } }
      : clock;
  if (restart?.round !== round) return [next, []];
  if (restart.phase !== 'script') return [{ ...next, restart: { ...restart, usedAtMs: atMs } }, []];
  return settle({ ...next, restart: enter(restart, 'script', atMs) });
}

function endTraining(clock: RestartClock, atMs: number): RestartClock {
  const { training, ...rest } = clock;
  if (training === undefined) return clock;
  return { ...rest, trainedMs: clock.trainedMs + Math.max(0, atMs - training.sinceMs) };
}

/** Tells the restart whose workers have started, with the phases that are known of it. */
function settle(clock: RestartClock): Told {
  const { restart, ...rest } = clock;
  if (restart?.phase !== 'script' || restart.round === undefined) return [clock, []];
  const { cause, round, phases, sinceMs: atMs } = restart;
  const totalMs = Object.values(phases).reduce((sum, ms) => sum + ms, 0);
  const byCause = { ...clock.byCause, [cause]: (clock.byCause[cause] ?? 0) + 1 };
  const event: RestartedEvent = { event: 'restarted', round, cause, totalMs, phases, atMs };
  return [{ ...rest, byCause, lostMs: clock.lostMs + totalMs }, [event]];
}

/** Ends the present phase and begins another one, or the same again. No thread's time leads back before another's. */
function enter(restart: Underway, phase: keyof RestartPhases, atMs: number): Underway {
  const { phase: ended, sinceMs, phases } = restart;
  const now = Math.max(atMs, sinceMs);
  const ms = (phases[ended] ?? 0) + now - sinceMs;
  return { ...restart, phase, sinceMs: now, phases: { ...phases, [ended]: ms } };
}

function within(
  { restart }: RestartClock,
  phase: keyof RestartPhases,
  atMs: number,
): Pick<RestartClock, 'restart'> {
  return restart === undefined ? {} : { restart: enter(restart, phase, atMs) };
}
