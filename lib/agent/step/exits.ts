import type { WorkerExit } from '../../events.js';
import { signalName } from '../../util/signals.js';
import { unreachable } from '../../util/unreachable.js';
import { isSuccess } from '../../worker-exit.js';
import type { Action, Exit, Live, Round, Stopping } from './state.js';
import { graceOf } from './stopping.js';

/** What `step` makes of the ends that it hears of. */

type Worker = Round['workers'][number];

export function seenExit(state: Live, worker: Worker, exit: WorkerExit, atMs: number): Exit {
  // What ended before we sent anything ended by itself, in whatever order we hear of it.
  const stopping = state.phase === 'stopping' && atMs >= state.sinceMs ? state : undefined;
  return {
    worker: worker.identity,
    exit,
    ...causeOf(stopping, worker.identity.localRank, exit, atMs),
    ...outlastedOf(stopping, exit, atMs),
    duringStop: stopping !== undefined,
    durationMs: atMs - worker.startedAtMs,
    atMs,
    isGone: false,
  };
}

/** The ends with one more, or with one that's now complete: they stay in the order in which they were first heard of. */
export function withExit(exits: readonly Exit[], exit: Exit): readonly Exit[] {
  const isSame = ({ worker }: Exit): boolean => worker === exit.worker;
  return exits.some(isSame) ? exits.map(seen => (isSame(seen) ? exit : seen)) : [...exits, exit];
}

function causeOf(
  stopping: Stopping | undefined,
  localRank: number,
  exit: WorkerExit,
  atMs: number,
): Pick<Exit, 'cause' | 'hang'> {
  const hang = stopping?.hang;
  // Whatever ended it now, it had failed before.
  if (hang?.worker.localRank === localRank) return { cause: 'hang', hang };
  const isOurs = stopping !== undefined && isOurDoing(stopping, exit, atMs);
  return { cause: isOurs ? 'stopped-by-us' : 'own' };
}

/** What a worker hasn't ended at in the whole of its grace period. */
function outlastedOf(
  stopping: Stopping | undefined,
  exit: WorkerExit,
  atMs: number,
): Pick<Exit, 'outlasted'> {
  if (stopping?.signaledAtMs === undefined || exit.how !== 'signaled') return {};
  const { policy, reason, signaledAtMs, killAtMs, sent } = stopping;
  const graceMs = Math.round(killAtMs - signaledAtMs);
  const signal = signalName(sent[0] ?? 0);
  // Nobody waits for what is killed at once: for a fence, or for a user in a hurry.
  const isWhole = graceMs > 0 && graceMs >= graceOf(policy, reason);
  const isKilled = exit.signalNumber === 9 && atMs >= killAtMs;
  return isKilled && isWhole && signal !== undefined ? { outlasted: { signal, graceMs } } : {};
}

/** Says who hasn't ended yet, as long as there's time to look: in a collective, or in the kernel, no handler runs. */
export function tellOutlasting(state: Live, nowMs: number): Action[] {
  if (state.phase !== 'stopping' || state.signaledAtMs === undefined) return [];
  const { round, signaledAtMs, killAtMs, sent } = state;
  const workers = state.workers
    .filter(worker => exitOf(state, worker) === undefined)
    .map(({ identity }) => identity);
  const signal = signalName(sent[0] ?? 0);
  if (workers.length === 0 || killAtMs <= nowMs || signal === undefined) return [];
  const times = { forMs: nowMs - signaledAtMs, leftMs: killAtMs - nowMs, atMs: nowMs };
  const told = { event: 'outlasting', workers, signal, ...times } as const;
  return [{ do: 'tell-outlasting', round, told }];
}

/** A hung worker that couldn't even be killed has no exit, and is the failure all the same. */
export function withHung(state: Live, atMs: number): readonly Exit[] {
  const { exits } = state;
  const hang = state.phase === 'stopping' ? state.hang : undefined;
  const worker = hang === undefined ? undefined : state.workers[hang.worker.localRank];
  if (hang === undefined || worker === undefined) return exits;
  if (exits.some(({ cause }) => cause === 'hang')) return exits;
  return [...exits, { ...seenExit(state, worker, { how: 'unknown' }, atMs), cause: 'hang', hang }];
}

/** The exit, or what the notice said where that tells more: somebody else may have taken the status. */
export function confirmed(noticed: WorkerExit, exit: WorkerExit): WorkerExit {
  return exit.how === 'unknown' || isSuccess(exit) ? noticed : exit;
}

/** The end that's known of a worker, by an early notice or by its exit. */
export function exitOf({ exits }: Round, { identity }: Worker): Exit | undefined {
  return exits.find(seen => seen.worker === identity);
}

/**
 * Whether a death is our own signal's. Shells and handlers that honour it report 128 + its number. SIGKILL is ours once
 * the grace period is over: before, it's the kernel's for lack of memory, or somebody else's.
 */
function isOurDoing({ sent, killAtMs }: Stopping, exit: WorkerExit, atMs: number): boolean {
  const isOurs = (signal: number): boolean =>
    sent.includes(signal) || (signal === 9 && atMs >= killAtMs);
  switch (exit.how) {
    case 'signaled':
      return isOurs(exit.signalNumber);
    case 'exited':
      return exit.code > 128 && isOurs(exit.code - 128);
    case 'unknown':
      return false;
    default:
      return unreachable(exit);
  }
}
