import type { BreakReason, LastVerdict } from '../../rendezvous/rendezvous.js';
import { afterPeers, awaitsPeers } from './conclude.js';
import { discardNext, planOf } from './next-round.js';
import { endPreparing, endWaiting } from './orders.js';
import { endByVerdict, isAwaitingPeers, rejoin } from './round-end.js';
import type {
  Action,
  AgentState,
  Joining,
  Of,
  Policy,
  Preparing,
  Step,
  Stopping,
} from './state.js';
import { endHold, signalActions, stopFor, unheld } from './stopping.js';
import { join } from './transitions.js';

/** What follows on this node from what happens on others. */

/** A round is over although this node's part of it is well. A local end that came before it goes on. */
export function onRoundBroken(
  state: AgentState,
  { round, because, atMs }: Of<'round-broken'>,
  nowMs: number,
): Step {
  if (!('round' in state) || state.round !== round) return [state, []];
  const isFenced = because === 'fenced';
  // Whoever fenced it has killed already, and deaths from then on are our doing.
  const sinceMs = atMs ?? nowMs;
  switch (state.phase) {
    case 'preparing': {
      const { policy, failures } = state;
      const pauses = [{ name: 'join' } as const];
      const joining = { phase: 'joining', policy, round, failures, pauses, next: 'none' } as const;
      return join(joining, [{ do: 'discard-round', plan: planOf(state) }]);
    }
    case 'starting':
    case 'running':
      // After a notice each worker saves and ends in its own time, unless it mustn't run any more.
      if (state.notice !== undefined && !isFenced) return [state, []];
      return stopFor(state, { reason: because, signal: signalFor(because, state.policy) }, sinceMs);
    case 'stopping':
      return isFenced ? kill(state, sinceMs) : [state, []];
    case 'describing':
      return isAwaitingPeers(state) ? rejoin(state) : [state, []];
    default:
      return [state, []];
  }
}

/** Workers of a healthy round may save, as at a notice of preemption; they all come back. */
function signalFor(because: BreakReason, { preemptSignal = 'SIGTERM' }: Policy): string {
  if (because === 'fenced') return 'SIGKILL';
  return because === 'membership' || because === 'ordered' ? preemptSignal : 'SIGTERM';
}

function kill(state: Stopping, nowMs: number): Step {
  if (state.killAtMs <= nowMs) return [state, []];
  const next = { ...unheld(state, nowMs), killAtMs: nowMs };
  return [next, [...endHold(state), ...signalActions(next, 'fenced', 'SIGKILL', 0, nowMs)]];
}

/** The job is over, whatever this node is about. */
export function onLastVerdict(
  state: AgentState,
  { round, verdict }: { readonly round: number; readonly verdict: LastVerdict },
  nowMs: number,
): Step {
  switch (state.phase) {
    case 'starting':
    case 'running':
      return stopFor({ ...state, verdict }, { reason: 'peer-failure', signal: 'SIGTERM' }, nowMs);
    case 'stopping':
      return [{ ...state, verdict, next: 'none' }, discardNext(state)];
    case 'describing':
      return [{ ...state, verdict }, []];
    case 'preparing':
    case 'joining': {
      const ending = endByVerdict(verdict, state.round, state.failures);
      const end =
        state.phase === 'joining' ? endWaiting(state, ending) : endPreparing(state, ending);
      return awaitsPeers(verdict) ? afterPeers(end, state.round, toldFirst(state, round)) : end;
    }
    default:
      return [state, []];
  }
}

/** Who was stopped in the round that has failed is read before it's told. */
function toldFirst(state: Joining | Preparing, failed: number): Action {
  const { round } = state;
  const unread = state.phase === 'joining' ? state.unread : undefined;
  if (unread === undefined || round !== failed) return { do: 'conclude', failures: [] };
  return { do: 'describe', round, ...unread };
}
