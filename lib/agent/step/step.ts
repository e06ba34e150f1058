import type { AgentEvent, Hang } from '../../events.js';
import { unreachable } from '../../util/unreachable.js';
import { isSuccess } from '../../worker-exit.js';
import { onLateDescribed, onPeersEnded } from './conclude.js';
import { confirmed, exitOf, seenExit, tellOutlasting, withExit } from './exits.js';
import { hookCalls, hookFailed } from './hook-calls.js';
import { onFormed, onPrepared } from './next-round.js';
import { noticeActions } from './notices.js';
import { inOrder } from './order.js';
import { onForward, onNotice, onStop } from './orders.js';
import { onLastVerdict, onRoundBroken } from './peers.js';
import { isBroken, onDescribed, onGroupEnded, onPauseOver, onVerdict } from './round-end.js';
import type {
  Action,
  AgentState,
  Ending,
  Exit,
  Happening,
  Live,
  Of,
  Pause,
  Policy,
  Step,
  Stopping,
} from './state.js';
import {
  hasStarted,
  livingOf,
  orderOf,
  release,
  stopFor,
  withoutNeedlessHold,
} from './stopping.js';
import { finish, join } from './transitions.js';

/**
 * The life of one node's worker group, round after round: what follows from what, without doing it.
 * `agent.ts` performs the actions, in their order (`order.ts`), and feeds back what happens. A round's group
 * bears the round's number. docs/architecture.md draws the phases.
 */

export function initialState(policy: Policy): AgentState {
  return { phase: 'idle', policy };
}

/** @param nowMs CLOCK_MONOTONIC in milliseconds, the clock of all `atMs` */
export function step(state: AgentState, happening: Happening, nowMs: number): Step {
  const [next, actions] = decide(state, happening, nowMs);
  const leave = hasLeft(next) && !hasLeft(state) ? [{ do: 'leave' } as const] : [];
  return [next, inOrder([...actions, ...leave])];
}

/** Whether a round that isn't over yet is this node's last one. */
function hasLeft(state: AgentState): boolean {
  switch (state.phase) {
    case 'starting':
    case 'running':
      return state.notice !== undefined;
    case 'stopping':
      return state.notice !== undefined || state.order !== undefined;
    case 'describing':
      return state.notice !== undefined || state.stop?.order !== undefined;
    default:
      return false;
  }
}

function decide(state: AgentState, happening: Happening, nowMs: number): Step {
  switch (happening.event) {
    case 'launch':
      return onLaunch(state);
    case 'stop':
      return onStop(state, happening, nowMs);
    case 'notice':
      return onNotice(state, { by: happening.by, atMs: nowMs });
    case 'forward':
      return onForward(state, happening.signal);
    case 'round-formed':
      return onFormed(state, happening);
    case 'prepared':
      return onPrepared(state, happening);
    case 'broken':
      return onBroken(state, happening.error);
    case 'round-broken':
      return onRoundBroken(state, happening, nowMs);
    case 'peers-ended':
      return onPeersEnded(state, happening);
    case 'started':
    case 'start-failed':
    case 'dying':
    case 'exited':
    case 'hung':
    case 'group-ended':
    case 'described':
    case 'verdict':
    case 'pause-over':
    case 'preempt-limit':
    case 'half-grace':
      break;
    default:
      return unreachable(happening);
  }

  // A job's end concerns whoever waits for a first round, too.
  if (happening.event === 'verdict' && happening.verdict.do !== 'restart') {
    const { round, verdict } = happening;
    const isAwaited = state.phase === 'describing' && state.failures !== undefined;
    return isAwaited ? onVerdict(state, verdict) : onLastVerdict(state, { round, verdict }, nowMs);
  }
  // Late news of a round that's over.
  if (state.phase === 'idle' || state.phase === 'ended') return [state, []];
  if (state.phase === 'preparing') return [state, []];
  if (happening.round !== state.round) return [state, []];
  if (state.phase === 'after' && happening.event === 'described')
    return onLateDescribed(state, happening);
  if (state.phase === 'joining' || state.phase === 'after')
    return happening.event === 'pause-over' ? onPauseOver(state, happening, nowMs) : [state, []];
  if (state.phase === 'describing') {
    if (happening.event === 'described') return onDescribed(state, happening);
    return happening.event === 'verdict' ? onVerdict(state, happening.verdict) : [state, []];
  }

  switch (happening.event) {
    // A round starts once, or fails to.
    case 'started':
      return hasStarted(state) ? [state, []] : onStarted(state, happening);
    case 'start-failed':
      return hasStarted(state) ? [state, []] : onStartFailed(state, happening.error, nowMs);
    case 'dying':
      return onDying(state, happening, nowMs);
    case 'exited':
      return onExited(state, happening, nowMs);
    case 'hung':
      return onHung(state, happening.hang, nowMs);
    case 'group-ended':
      return onGroupEnded(state, happening);
    case 'described':
    case 'verdict':
      return [state, []];
    case 'pause-over':
      return onHookOver(state, happening, nowMs);
    case 'preempt-limit':
      if (state.phase !== 'running' || livingOf(state) === 0) return [state, []];
      return stopFor(state, { reason: 'preempt', signal: 'SIGTERM' }, nowMs);
    case 'half-grace':
      return [state, tellOutlasting(state, nowMs)];
    default:
      return unreachable(happening);
  }
}

function onLaunch(state: AgentState): Step {
  if (state.phase !== 'idle') return [state, []];
  const { policy } = state;
  const pauses: Pause[] = [...hookCalls(policy, 'pre-start', { round: 0 }), { name: 'join' }];
  return join({ phase: 'joining', policy, round: 0, failures: [], pauses, next: 'none' });
}

/** Whatever runs is killed with the core, and what's being made is removed with the run. */
function onBroken(state: AgentState, error: unknown): Step {
  if (state.phase === 'ended') return [state, []];
  return finish(state.policy, { outcome: 'error', error });
}

/** The hook before a stop; it may have been overtaken. */
function onHookOver(state: Live, { pause, problem }: Of<'pause-over'>, nowMs: number): Step {
  if (state.phase !== 'stopping' || state.holding === undefined || pause !== 'pre-stop')
    return [state, []];
  const [next, actions] = release(state, nowMs);
  const { round } = state;
  const told = problem === undefined ? [] : [hookFailed({ name: pause, round }, problem, nowMs)];
  return [next, [...actions, ...told]];
}

function onStarted(
  state: Live,
  { workers, masterAddr, masterPort, rendezvousMs, atMs }: Of<'started'>,
): Step {
  const { round, restartCount, place } = state;
  const { groupRank, groupWorldSize, worldSize } = place;
  const told: AgentEvent = {
    event: 'round-started',
    round,
    restartCount,
    masterAddr,
    masterPort,
    groupRank,
    groupWorldSize,
    worldSize,
    workers: workers.map(worker => worker.identity),
    rendezvousMs,
    atMs,
  };
  // A stop that came before goes on: the core stops the group as soon as it has started.
  const phase = state.phase === 'starting' ? 'running' : state.phase;
  const next = { ...state, phase, workers } as Live; // `running` adds nothing to `starting`
  const notified = phase === 'running' ? state.notice : undefined;
  if (notified !== undefined)
    return [next, [{ do: 'tell', event: told }, ...noticeActions(next, notified)]];
  const isWatched = phase === 'running' && state.policy.watchesForHangs === true;
  const watch: Action[] = isWatched ? [{ do: 'watch-round', round }] : [];
  return [next, [{ do: 'tell', event: told }, ...watch]];
}

function onStartFailed(state: Live, error: unknown, nowMs: number): Step {
  const { policy, round } = state;
  // What has happened on other nodes ended the round before it began here: nobody's start has failed.
  if (state.phase === 'stopping' && state.order === undefined && isBroken(state.reason)) {
    const nobody = { stuck: [], strays: [], left: [] };
    return onGroupEnded(state, { event: 'group-ended', round, atMs: nowMs, ...nobody });
  }
  // Whoever wanted no workers gets what they wanted.
  const order = state.phase === 'stopping' ? state.order : undefined;
  const ending: Ending =
    order === undefined ? { outcome: 'error', error } : { outcome: 'stopped', ...orderOf(order) };
  return finish(policy, ending, [{ do: 'release-round', round }]);
}

function onExited(state: Live, { localRank, exit, atMs }: Of<'exited'>, nowMs: number): Step {
  const worker = state.workers[localRank];
  if (worker === undefined) return [state, []];
  const noticed = exitOf(state, worker);
  if (noticed?.isGone) return [state, []];

  const durationMs = atMs - worker.startedAtMs;
  const seen: Exit =
    noticed === undefined
      ? { ...seenExit(state, worker, exit, atMs), isGone: true }
      : { ...noticed, exit: confirmed(noticed.exit, exit), durationMs, isGone: true };
  const told: Action = {
    do: 'tell',
    event: {
      event: 'worker-exited',
      worker: worker.identity,
      exit: seen.exit,
      durationMs,
      duringStop: seen.duringStop,
      cause: seen.cause,
      atMs,
    },
  };
  const exits = withExit(state.exits, seen);
  // The first failure stops the group; those that follow are its echoes, kept for the report only.
  // After a notice each worker saves and ends in its own time; one that's done mustn't stop the others.
  if (state.phase !== 'running' || isSuccess(seen.exit) || state.notice !== undefined)
    return withoutNeedlessHold({ ...state, exits }, [told], nowMs);

  return stopForFailure({ ...state, exits }, told, nowMs);
}

function stopForFailure(state: Exclude<Live, Stopping>, told: Action, nowMs: number): Step {
  const { round } = state;
  const [next, actions] = stopFor(state, { reason: 'failure', signal: 'SIGTERM' }, nowMs);
  return [next, [{ do: 'announce', round }, told, ...actions]];
}

/** A hang is the failure of one worker, though the process lives: the group ends, and a restart is spent. */
function onHung(state: Live, hang: Hang, nowMs: number): Step {
  const { localRank } = hang.worker;
  // It may have ended while its stacks were written, or another may have failed.
  // After a notice there's a limit already, and no round to come.
  if (state.phase !== 'running' || state.notice !== undefined) return [state, []];
  if (state.exits.some(({ worker }) => worker.localRank === localRank)) return [state, []];
  const { round } = state;
  const [next, actions] = stopFor(state, { reason: 'hang', signal: 'SIGTERM', hang }, nowMs);
  return [next, [{ do: 'announce', round }, ...actions]];
}

/**
 * A failure stops the group as soon as it's known to come. It's in the report by this time and place;
 * all else waits for the exit itself.
 */
function onDying(state: Live, { localRank, exit, atMs }: Of<'dying'>, nowMs: number): Step {
  const worker = state.workers[localRank];
  // Ends that are well, or of which we know nothing yet, are told soon enough.
  if (worker === undefined || isSuccess(exit) || exit.how === 'unknown') return [state, []];
  if (exitOf(state, worker) !== undefined) return [state, []];

  const seen = seenExit(state, worker, exit, atMs);
  const { durationMs, duringStop } = seen;
  const told: Action = {
    do: 'tell',
    event: {
      event: 'worker-dying',
      worker: worker.identity,
      exit,
      durationMs,
      duringStop,
      atMs,
    },
  };
  const exits = withExit(state.exits, seen);
  if (state.phase !== 'running' || state.notice !== undefined)
    return withoutNeedlessHold({ ...state, exits }, [told], nowMs);
  return stopForFailure({ ...state, exits }, told, nowMs);
}
