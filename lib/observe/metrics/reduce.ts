import type { RestartCause, RestartPhases } from '../../events/restarts.js';
import type { AgentEvent, HangRule, RunResult, WorkerExit } from '../../events.js';
import { isSuccess } from '../../worker-exit.js';

/** What a worker of the present round is at. `dying`: its memory is being freed; `stopped`: our signal ended it. */
export type WorkerState = 'running' | 'dying' | 'succeeded' | 'failed' | 'stopped';

/** Time that wasn't training: the phases of restarts, what came before the first training, and what nothing tells of. */
export type BadputType = keyof RestartPhases | 'first_start' | 'other';

/** What events tell of a run, in numbers. Times are CLOCK_MONOTONIC in milliseconds. */
export interface MetricsState {
  readonly maxRestarts: number;
  readonly launchedAtMs: number;
  /** Workers of the present round, by local rank. */
  readonly workers: ReadonlyMap<number, WorkerState>;
  readonly round?: Extract<AgentEvent, { event: 'round-started' }>;
  readonly rounds: number;
  /** Restarts whose costs are known. */
  readonly restarts: Readonly<Partial<Record<RestartCause, number>>>;
  readonly restartsLeft: number;
  readonly exits: Readonly<Partial<Record<WorkerState, number>>>;
  readonly hangs: Readonly<Partial<Record<HangRule, number>>>;
  readonly standbys: number;
  readonly isPreempted: boolean;
  /** By file: each tells its own sum. */
  readonly lostLines: ReadonlyMap<string, number>;
  readonly lostRecords: ReadonlyMap<string, number>;
  /** Since when the workers train; absent: they don't. */
  readonly trainingSinceMs?: number;
  readonly trainedMs: number;
  readonly badMs: Readonly<Partial<Record<BadputType, number>>>;
  readonly endedAtMs?: number;
  readonly outcome?: RunResult['outcome'];
}

/** What one event adds to a distribution, in seconds. */
export type Observation =
  | { readonly of: 'rendezvous'; readonly seconds: number }
  | { readonly of: 'restart'; readonly cause: RestartCause; readonly seconds: number }
  | { readonly of: 'phase'; readonly phase: keyof RestartPhases; readonly seconds: number };

type Reduced = readonly [MetricsState, readonly Observation[]];

export function startMetrics(maxRestarts: number, nowMs: number): MetricsState {
  return {
    maxRestarts,
    launchedAtMs: nowMs,
    workers: new Map(),
    rounds: 0,
    restarts: {},
    restartsLeft: maxRestarts,
    exits: {},
    hangs: {},
    standbys: 0,
    isPreempted: false,
    lostLines: new Map(),
    lostRecords: new Map(),
    trainedMs: 0,
    badMs: {},
  };
}

/** What follows from an event. Pure. */
export function reduceMetrics(state: MetricsState, event: AgentEvent): Reduced {
  switch (event.event) {
    case 'round-started':
      return onRoundStarted(state, event);
    case 'store-used':
      return [trainsSince(state, event), []];
    case 'worker-dying':
      return [onDeath(withWorker(state, event.worker.localRank, 'dying'), event.atMs), []];
    case 'worker-exited':
      return [onExited(state, event), []];
    case 'stopping':
    case 'round-broken':
      return [stopTraining(state, event.atMs), []];
    case 'restarting':
      return [{ ...state, restartsLeft: event.restartsLeft }, []];
    case 'restarted':
      return onRestarted(state, event);
    case 'hung':
      return [{ ...state, hangs: add(state.hangs, event.hang.rule, 1) }, []];
    case 'preempting':
      return [{ ...state, isPreempted: true }, []];
    case 'standbys-ready':
      return [{ ...state, standbys: event.pids.length }, []];
    case 'standbys-taken':
    case 'standby-trouble':
      return [{ ...state, standbys: 0 }, []];
    case 'output-trouble': {
      const lostLines = highest(state.lostLines, event.path, event.droppedLines);
      return [{ ...state, lostLines }, []];
    }
    case 'events-trouble': {
      const lostRecords = highest(state.lostRecords, event.path, event.lostRecords);
      return [{ ...state, lostRecords }, []];
    }
    case 'ended': {
      const { atMs: endedAtMs, outcome } = event;
      return [{ ...stopTraining(state, endedAtMs), standbys: 0, endedAtMs, outcome }, []];
    }
    default:
      return [state, []];
  }
}

/** Where a run's time has gone by now, in milliseconds: `good` and all of `bad` together are `total`. */
export interface Goodput {
  readonly totalMs: number;
  readonly goodMs: number;
  readonly badMs: Readonly<Partial<Record<BadputType, number>>>;
}

export function goodputOf(state: MetricsState, nowMs: number): Goodput {
  const untilMs = state.endedAtMs ?? nowMs;
  const totalMs = Math.max(0, untilMs - state.launchedAtMs);
  const sinceMs = state.trainingSinceMs;
  const goodMs = state.trainedMs + (sinceMs === undefined ? 0 : Math.max(0, untilMs - sinceMs));
  const known = Object.values(state.badMs).reduce((sum, ms) => sum + ms, 0);
  const restMs = Math.max(0, totalMs - goodMs - known);
  const rest = state.rounds === 0 ? 'first_start' : 'other';
  return { totalMs, goodMs, badMs: add(state.badMs, rest, restMs) };
}

function onRoundStarted(
  state: MetricsState,
  event: Extract<AgentEvent, { event: 'round-started' }>,
): Reduced {
  const isFirst = state.rounds === 0;
  const next: MetricsState = {
    ...stopTraining(state, event.atMs),
    round: event,
    rounds: state.rounds + 1,
    workers: new Map(event.workers.map(({ localRank }) => [localRank, 'running'])),
    restartsLeft: Math.max(0, state.maxRestarts - event.restartCount),
    trainingSinceMs: event.atMs,
    badMs: isFirst
      ? add(state.badMs, 'first_start', Math.max(0, event.atMs - state.launchedAtMs))
      : state.badMs,
  };
  return [next, [{ of: 'rendezvous', seconds: event.rendezvousMs / 1000 }]];
}

/** The script has begun to train only now: what came before was imports. */
function trainsSince(
  state: MetricsState,
  { round, atMs }: Extract<AgentEvent, { event: 'store-used' }>,
): MetricsState {
  const { trainingSinceMs } = state;
  if (trainingSinceMs === undefined || state.round?.round !== round) return state;
  const next = { ...state, trainingSinceMs: Math.max(atMs, trainingSinceMs) };
  // Of a restart `restarted` tells it.
  if (state.rounds > 1) return next;
  const importsMs = next.trainingSinceMs - trainingSinceMs;
  return { ...next, badMs: add(state.badMs, 'first_start', importsMs) };
}

function onExited(
  state: MetricsState,
  { worker, exit, cause, atMs }: Extract<AgentEvent, { event: 'worker-exited' }>,
): MetricsState {
  const now = stateOf(exit, cause);
  const next = { ...withWorker(state, worker.localRank, now), exits: add(state.exits, now, 1) };
  if (now === 'failed') return onDeath(next, atMs);
  const isLast = [...next.workers.values()].every(each => each !== 'running' && each !== 'dying');
  return isLast ? stopTraining(next, atMs) : next;
}

/** A failure ends its round, but behind a notice, where each worker saves and ends in its own time. */
function onDeath(state: MetricsState, atMs: number): MetricsState {
  return state.isPreempted ? state : stopTraining(state, atMs);
}

function stateOf(exit: WorkerExit, cause: 'own' | 'hang' | 'stopped-by-us'): WorkerState {
  if (isSuccess(exit)) return 'succeeded';
  return cause === 'stopped-by-us' ? 'stopped' : 'failed';
}

function onRestarted(
  state: MetricsState,
  { round, cause, totalMs, phases, atMs }: Extract<AgentEvent, { event: 'restarted' }>,
): Reduced {
  const told = Object.entries(phases) as [keyof RestartPhases, number][]; // its own keys
  const badMs = told.reduce((sum, [phase, ms]) => add(sum, phase, ms), state.badMs);
  const trains = trainsSince(state, { event: 'store-used', round, atMs });
  const next = { ...trains, badMs, restarts: add(state.restarts, cause, 1) };
  return [
    next,
    [
      { of: 'restart', cause, seconds: totalMs / 1000 },
      ...told.map(([phase, ms]) => ({ of: 'phase', phase, seconds: ms / 1000 }) as const),
    ],
  ];
}

function stopTraining(state: MetricsState, atMs: number): MetricsState {
  const { trainingSinceMs, ...rest } = state;
  if (trainingSinceMs === undefined) return state;
  return { ...rest, trainedMs: state.trainedMs + Math.max(0, atMs - trainingSinceMs) };
}

function withWorker(state: MetricsState, localRank: number, now: WorkerState): MetricsState {
  return { ...state, workers: new Map(state.workers).set(localRank, now) };
}

function add<K extends string>(
  sums: Readonly<Partial<Record<K, number>>>,
  key: K,
  by: number,
): Readonly<Partial<Record<K, number>>> {
  return { ...sums, [key]: (sums[key] ?? 0) + by };
}

function highest(
  known: ReadonlyMap<string, number>,
  key: string,
  value: number,
): ReadonlyMap<string, number> {
  return new Map(known).set(key, Math.max(known.get(key) ?? 0, value));
}
