import type { WorkerExit } from '../events.js';
import { unreachable } from '../util/unreachable.js';
import type { AgentState, Exit, Round } from './state.js';

/** What `step` makes of the ends that it hears of. */

type Worker = Round['workers'][number];
type Live = Extract<AgentState, { phase: 'starting' | 'running' | 'stopping' }>;
type Stopping = Extract<AgentState, { phase: 'stopping' }>;

export function seenExit(state: Live, worker: Worker, exit: WorkerExit, atMs: number): Exit {
  // What ended before we sent anything ended by itself, in whatever order we hear of it.
  const stopping = state.phase === 'stopping' && atMs >= state.sinceMs ? state : undefined;
  return {
    worker: worker.identity,
    exit,
    ...causeOf(stopping, worker.identity.localRank, exit),
    duringStop: stopping !== undefined,
    durationMs: atMs - worker.startedAtMs,
    atMs,
  };
}

function causeOf(
  stopping: Stopping | undefined,
  localRank: number,
  exit: WorkerExit,
): Pick<Exit, 'cause' | 'hang'> {
  const hang = stopping?.hang;
  // Whatever ended it now, it had failed before.
  if (hang?.worker.localRank === localRank) return { cause: 'hang', hang };
  const isOurs = stopping !== undefined && isOurDoing(stopping, exit);
  return { cause: isOurs ? 'stopped-by-us' : 'own' };
}

/** A hung worker that couldn't even be killed has no exit, and is the failure all the same. */
export function hungFor(state: Live, known: readonly Exit[], atMs: number): Exit[] {
  const hang = state.phase === 'stopping' ? state.hang : undefined;
  const worker = hang === undefined ? undefined : state.workers[hang.worker.localRank];
  if (hang === undefined || worker === undefined) return [];
  if (known.some(({ cause }) => cause === 'hang')) return [];
  const exit: Exit = {
    worker: worker.identity,
    exit: { how: 'unknown' },
    cause: 'hang',
    hang,
    duringStop: true,
    durationMs: atMs - worker.startedAtMs,
    atMs,
  };
  return [exit];
}

/** The exit, or what the notice said where that tells more: somebody else may have taken the status. */
export function confirmed(noticed: WorkerExit, exit: WorkerExit): WorkerExit {
  return exit.how === 'unknown' || isSuccess(exit) ? noticed : exit;
}

/**
 * As seen while the group ran, by the notice if there was one, then by local rank: the order in which
 * those that we stop get round to ending tells nothing.
 */
export function inOrderOfReport(exits: readonly Exit[], dying: readonly Exit[]): Exit[] {
  const isNoticed = ({ worker }: Exit): boolean => dying.some(seen => seen.worker === worker);
  const seen = exits.filter(exit => !exit.duringStop && !isNoticed(exit));
  for (const exit of exits.filter(exit => !exit.duringStop && isNoticed(exit))) {
    const next = seen.findIndex(other => other.atMs > exit.atMs);
    seen.splice(next < 0 ? seen.length : next, 0, exit);
  }
  return [
    ...seen,
    ...exits
      .filter(exit => exit.duringStop)
      .sort((one, other) => one.worker.localRank - other.worker.localRank),
  ];
}

export function isAmong(exits: readonly Exit[], { identity }: Worker): boolean {
  return exits.some(seen => seen.worker === identity);
}

/** Those with a notice, and without an exit. */
export function notGoneYet({ exits, dying }: Round): Exit[] {
  return dying.filter(({ worker }) => !exits.some(seen => seen.worker === worker));
}

/** Whether a death is our own signal's. Shells and handlers that honour it report 128 + its number. */
function isOurDoing(state: Stopping, exit: WorkerExit): boolean {
  switch (exit.how) {
    case 'signaled':
      return state.sent.includes(exit.signalNumber);
    case 'exited':
      return exit.code > 128 && state.sent.includes(exit.code - 128);
    case 'unknown':
      return false;
    default:
      return unreachable(exit);
  }
}

export function isSuccess(exit: WorkerExit): boolean {
  return exit.how === 'exited' && exit.code === 0;
}
