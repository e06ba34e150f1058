import { unreachable } from '../util/unreachable.js';
import { inOrderOfReport } from './exits.js';
import { noticeActions } from './preemption.js';
import { discardNext } from './round-end.js';
import type { AgentState, Ending, Notice, StopOrder } from './state.js';
import {
  type Between,
  echoMs,
  graceOf,
  livingOf,
  type Of,
  orderOf,
  type Step,
  type Stopping,
  sentWith,
  signalActions,
  stopFor,
} from './stopping.js';

/** What users, callers and schedulers want of a run: that it stops, that it saves, that a signal passes. */

export function onStop(state: AgentState, { by, signal }: Of<'stop'>, nowMs: number): Step {
  const order: StopOrder = { by, signal: signal ?? 'SIGTERM', atMs: nowMs };
  switch (state.phase) {
    case 'idle':
      return [
        { phase: 'ended', policy: state.policy },
        [{ do: 'finish', ending: { outcome: 'stopped', ...orderOf(order) } }],
      ];
    case 'running':
      // They're all done and well; only their output is being written.
      if (livingOf(state) === 0) return [state, []];
      return stopFor(state, { reason: by, signal: order.signal, order }, nowMs);
    case 'starting':
      return stopFor(state, { reason: by, signal: order.signal, order }, nowMs);
    case 'stopping':
      return state.order === undefined
        ? joinStop(state, order, nowMs)
        : hurry(state, state.order, { signal, nowMs });
    case 'between':
      return endBetween(state, { outcome: 'stopped', ...orderOf(order) });
    case 'ended':
      return [state, []];
    default:
      return unreachable(state);
  }
}

function endBetween(state: Between, ending: Ending): Step {
  const [pause] = state.pauses;
  return [
    { phase: 'ended', policy: state.policy },
    [
      ...(pause === undefined ? [] : [{ do: 'end-pause', pause: pause.name } as const]),
      ...(state.prepared ? [discardNext(state)] : []),
      { do: 'finish', ending },
    ],
  ];
}

export function onNotice(state: AgentState, notice: Notice): Step {
  if (state.phase === 'idle' || state.phase === 'ended') return [state, []];
  if (state.notice !== undefined) return [state, []];

  switch (state.phase) {
    case 'starting':
      return [{ ...state, notice }, []];
    case 'running':
      return livingOf(state) === 0
        ? [state, []]
        : [{ ...state, notice }, noticeActions(state, notice)];
    case 'stopping':
      // Whoever is being stopped saves already. There's no round after this one.
      return [{ ...state, notice, prepared: false }, state.prepared ? [discardNext(state)] : []];
    case 'between': {
      const { round, exits } = state;
      const ending: Ending = {
        outcome: 'preempted',
        round,
        exits: inOrderOfReport(exits, state.dying),
      };
      return endBetween(state, ending);
    }
    default:
      return unreachable(state);
  }
}

/** Workers that haven't exec'd yet have no handler that it could be meant for. */
export function onForward(state: AgentState, signal: string): Step {
  if (state.phase !== 'running' && state.phase !== 'stopping') return [state, []];
  if (livingOf(state) === 0) return [state, []];
  return [state, [{ do: 'signal-group', round: state.round, signal }]];
}

/** The first order, while a failure is being dealt with: it ends the run, on the failure's clock. */
function joinStop(state: Stopping, order: StopOrder, nowMs: number): Step {
  const left = Math.max(0, state.killAtMs - nowMs);
  const graceMs = order.signal === 'SIGKILL' ? 0 : Math.min(left, graceOf(state.policy, order.by));
  const discard = state.prepared ? [discardNext(state)] : [];
  const next = {
    ...state,
    order,
    killAtMs: nowMs + graceMs,
    sent: sentWith(state, order.signal),
    prepared: false,
  };
  return [next, [...signalActions(next, order.by, order.signal, graceMs, nowMs), ...discard]];
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
  if (signal === undefined || state.killAtMs <= nowMs) return [state, []];
  if (signal === first.signal && nowMs - first.atMs < echoMs) return [state, []];

  const next = { ...state, killAtMs: nowMs };
  return [next, signalActions(next, 'signal', 'SIGKILL', 0, nowMs)];
}
