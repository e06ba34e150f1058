import { echoMs } from '../../util/signals.js';
import { unreachable } from '../../util/unreachable.js';
import { discardNext, planOf } from './next-round.js';
import { noticeActions, unheardNotice } from './notices.js';
import { endAwaiting, isAwaitingPeers } from './round-end.js';
import type {
  Action,
  After,
  AgentState,
  Describing,
  Ending,
  Joining,
  Notice,
  Of,
  Pause,
  Preparing,
  Step,
  StopOrder,
  Stopping,
} from './state.js';
import {
  endHold,
  graceOf,
  hasStarted,
  livingOf,
  orderOf,
  sentWith,
  signalActions,
  stopFor,
  unheld,
} from './stopping.js';
import { finish } from './transitions.js';

/** What users, callers and schedulers want of a run: that it stops, that it saves, that a signal passes. */

export function onStop(state: AgentState, { by, signal }: Of<'stop'>, nowMs: number): Step {
  const order: StopOrder = { by, signal: signal ?? 'SIGTERM', atMs: nowMs };
  switch (state.phase) {
    case 'idle':
      return finish(state.policy, { outcome: 'stopped', ...orderOf(order) });
    case 'running':
      // They're all done and well; only their output is being written. But other nodes' may run for long.
      if (livingOf(state) === 0 && state.place.groupWorldSize === 1) return [state, []];
      return stopFor(state, { reason: by, signal: order.signal, order }, nowMs);
    case 'starting':
      return stopFor(state, { reason: by, signal: order.signal, order }, nowMs);
    case 'stopping':
      return state.order === undefined
        ? joinStop(state, order, nowMs)
        : hurry(state, state.order, { signal, nowMs });
    case 'describing':
      return joinEnd(state, order, signal);
    case 'preparing':
      return endPreparing(state, { outcome: 'stopped', ...orderOf(order) });
    case 'joining':
      return endWaiting(state, { outcome: 'stopped', ...orderOf(order) }, order);
    case 'after':
      return hurryAfter(state, order, signal);
    case 'ended':
      return [state, []];
    default:
      return unreachable(state);
  }
}

/** Nothing starts any more. But what comes after a round belongs to that round, and goes on. */
export function endWaiting(state: Joining, ending: Ending, order?: StopOrder): Step {
  const { policy, round } = state;
  const [pause] = state.pauses;
  const discard = discardNext(state);
  const ofRound = state.pauses.filter(({ name }) => name === 'gpus' || name === 'post-round');
  if (ofRound[0] !== undefined && ofRound[0] === pause && order?.signal !== 'SIGKILL') {
    const after: After = { phase: 'after', policy, round, pauses: ofRound, ending };
    return [order === undefined ? after : { ...after, order }, discard];
  }
  return finish(policy, ending, [...endPause(pause), ...discard]);
}

/** Nothing runs yet, and whatever is being made is removed when it's there. */
export function endPreparing(state: Preparing, ending: Ending): Step {
  return finish(state.policy, ending, [{ do: 'discard-round', plan: planOf(state) }]);
}

/** The run is ending, which is all that a first order wants; a second signal doesn't wait for a hook. */
function hurryAfter(state: After, order: StopOrder, signal: string | undefined): Step {
  const { policy, ending, order: first } = state;
  const [pause] = state.pauses;
  if (order.signal !== 'SIGKILL' && pause?.name !== 'peers') {
    if (first === undefined) return [{ ...state, order }, []];
    if (signal === undefined || isEcho(first, order.signal, order.atMs)) return [state, []];
  }
  return finish(policy, ending, endPause(pause));
}

function endPause(pause: Pause | undefined): Action[] {
  return pause === undefined ? [] : [{ do: 'end-pause', pause: pause.name }];
}

function isEcho(first: StopOrder, signal: string, atMs: number): boolean {
  return signal === first.signal && atMs - first.atMs < echoMs;
}

export function onNotice(state: AgentState, notice: Notice): Step {
  if (state.phase === 'ended') return [state, []];
  if (state.phase === 'idle')
    return tellFirst(notice, finish(state.policy, { outcome: 'preempted', failures: [] }));
  if ('notice' in state && state.notice !== undefined) return [state, []];

  switch (state.phase) {
    case 'starting':
      return [{ ...state, notice }, []];
    case 'running':
      if (livingOf(state) > 0) return [{ ...state, notice }, noticeActions(state, notice)];
      return state.place.groupWorldSize === 1
        ? [state, []]
        : [{ ...state, notice }, [unheardNotice(notice)]];
    case 'describing':
    case 'stopping': {
      // All of this node's have succeeded, and the others' end was awaited.
      if (state.phase === 'describing' && isAwaitingPeers(state))
        return tellFirst(notice, endAwaiting(state, { outcome: 'succeeded' }));
      // Whoever is being stopped saves already, and whoever is gone is done. There's no round after this one.
      const order = state.phase === 'stopping' ? state.order : state.stop?.order;
      return [
        { ...state, notice, next: 'none' },
        [
          // A stop that was ordered ends the job as it is.
          ...(order === undefined ? [unheardNotice(notice)] : []),
          ...discardNext(state),
        ],
      ];
    }
    case 'preparing': {
      const { failures } = state;
      return tellFirst(notice, endPreparing(state, { outcome: 'preempted', failures }));
    }
    case 'joining': {
      // A machine that goes away is none to start on.
      const { failures } = state;
      return tellFirst(notice, endWaiting(state, { outcome: 'preempted', failures }));
    }
    case 'after': {
      // Whoever has to go doesn't wait to hear of others.
      const [pause] = state.pauses;
      if (pause?.name !== 'peers') return [state, []];
      return finish(state.policy, state.ending, endPause(pause));
    }
    default:
      return unreachable(state);
  }
}

function tellFirst(notice: Notice, [state, actions]: Step): Step {
  return [state, [unheardNotice(notice), ...actions]];
}

/** Workers that haven't exec'd yet have no handler that it could be meant for. */
export function onForward(state: AgentState, signal: string): Step {
  if (state.phase !== 'running' && state.phase !== 'stopping') return [state, []];
  if (livingOf(state) === 0) return [state, []];
  return [state, [{ do: 'signal-group', round: state.round, signal }]];
}

/** An order while the failures of a group are being described: nobody is left to stop, and no round follows. */
function joinEnd(state: Describing, order: StopOrder, signal: string | undefined): Step {
  const { stop } = state;
  if (isAwaitingPeers(state)) return endAwaiting(state, { outcome: 'stopped', ...orderOf(order) });
  // It ended by itself.
  if (stop === undefined) return [state, []];
  const first = stop.order;
  if (first === undefined) {
    return [{ ...state, stop: { ...stop, order }, next: 'none' }, discardNext(state)];
  }
  if (signal === undefined || isEcho(first, signal, order.atMs)) return [state, []];
  return [{ ...state, stop: { ...stop, order: { ...first, hurried: true } } }, []];
}

/** The first order, while a failure is being dealt with: it ends the run, on the failure's clock. */
function joinStop(state: Stopping, order: StopOrder, nowMs: number): Step {
  const left = Math.max(0, state.killAtMs - nowMs);
  const graceMs = order.signal === 'SIGKILL' ? 0 : Math.min(left, graceOf(state.policy, order.by));
  const discard = discardNext(state);
  // The hook goes on, and the order's signal takes the place of the one that waits for it.
  if (state.holding !== undefined && order.signal !== 'SIGKILL') {
    return [{ ...state, order, holding: { signal: order.signal }, next: 'none' }, discard];
  }
  const next = {
    ...unheld(state, nowMs),
    order,
    killAtMs: nowMs + graceMs,
    sent: sentWith(unheld(state, nowMs), order.signal),
    next: 'none' as const,
  };
  const signals = signalActions(next, order.by, order.signal, graceMs, nowMs);
  return [next, [...endHold(state), ...signals, ...discard]];
}

/**
 * A later order. Without a signal it only waits for the end, as the first does. With one, the user
 * wants it to be over now: what's left is killed.
 */
function hurry(
  state: Stopping,
  first: StopOrder,
  { signal, nowMs }: { readonly signal: string | undefined; readonly nowMs: number },
): Step {
  if (signal === undefined || isEcho(first, signal, nowMs)) return [state, []];
  // They're being killed already. A start that hangs isn't, unless somebody is in a hurry.
  if (state.killAtMs <= nowMs && hasStarted(state)) return [state, []];

  const next = {
    ...unheld(state, nowMs),
    order: { ...first, hurried: true as const },
    killAtMs: nowMs,
  };
  return [next, [...endHold(state), ...signalActions(next, 'signal', 'SIGKILL', 0, nowMs)]];
}
