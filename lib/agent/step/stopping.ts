import type { Hang, StopReason } from '../../events.js';
import type { GraceReason } from '../../options/stopping.js';
import { signalNumber } from '../../util/signals.js';
import { aboutStop, hookCalls } from './hook-calls.js';
import { unwatch } from './notices.js';
import type { Action, Live, Policy, Round, Step, StopOrder, Stopping } from './state.js';

/** How a group is stopped, and the words that the other parts of `step` share. */

/** What hangs doesn't save anything: it gets time to end its children, and no more. */
const hangGraceMs = 5000;

export function stopFor(
  state: Exclude<Live, Stopping>,
  why: {
    readonly reason: StopReason;
    readonly signal: string;
    readonly order?: StopOrder;
    readonly hang?: Hang;
  },
  nowMs: number,
): Step {
  const { policy, round, following } = state;
  const graceMs = why.signal === 'SIGKILL' ? 0 : graceOf(policy, why.reason);
  // The failed worker may have been the last; then there's nobody to stop and nothing to tell.
  const nobody = isLeft(state);
  const stopping: Stopping = {
    ...state,
    phase: 'stopping',
    reason: why.reason,
    ...(why.order === undefined ? {} : { order: why.order }),
    ...(why.hang === undefined ? {} : { hang: why.hang }),
    sinceMs: nowMs,
    killAtMs: nowMs + graceMs,
    ...(nobody ? {} : { signaledAtMs: nowMs }),
    sent: sentWith(undefined, why.signal),
    next: isFailure(why.reason) && following !== undefined ? 'under-way' : 'none',
  };
  // Workers that are still starting haven't run their own code: there's nothing to do before they end.
  const mayHold = state.phase === 'running' && !nobody && why.signal !== 'SIGKILL';
  const [hook] = mayHold ? hookCalls(policy, 'pre-stop', aboutStop(stopping)) : [];
  const next = hook === undefined ? stopping : held(stopping, why.signal);
  const prepare: Action[] =
    next.next === 'under-way' && following !== undefined
      ? [{ do: 'prepare-round', plan: following }]
      : [];
  // A notice has ended it before.
  const isWatched = state.phase === 'running' && state.notice === undefined;
  const after = [...(isWatched ? unwatch(policy, round) : []), ...prepare];
  if (hook !== undefined) return [next, [{ do: 'begin-pause', round, pause: hook }, ...after]];
  const signals = nobody ? [] : signalActions(next, why.reason, why.signal, graceMs, nowMs);
  return [next, [...signals, ...after]];
}

/** Whether all have ended, or are about to. */
function isLeft(state: Live): boolean {
  return state.phase !== 'starting' && state.exits.length === state.workers.length;
}

/** Holds a stop up until the hook is over: no grace period has begun, and nothing is sent. */
function held({ signaledAtMs: _, ...state }: Stopping, signal: string): Stopping {
  return { ...state, killAtMs: Number.POSITIVE_INFINITY, sent: [], holding: { signal } };
}

/** Ends the hold: the group is stopped now, whatever comes of the hook. */
export function unheld(state: Stopping, nowMs: number): Stopping {
  const { holding, ...rest } = state;
  if (holding === undefined) return state;
  return { ...rest, signaledAtMs: nowMs, sent: sentWith(undefined, holding.signal) };
}

export function endHold({ holding }: Stopping): Action[] {
  return holding === undefined ? [] : [{ do: 'end-pause', pause: 'pre-stop' }];
}

/** The hook is over: the signal that waited for it is sent. */
export function release(state: Stopping, nowMs: number): Step {
  const { policy, order, holding } = state;
  if (holding === undefined) return [state, []];
  const reasons = [state.reason, ...(order === undefined ? [] : [order.by])];
  const graceMs = Math.min(...reasons.map(each => graceOf(policy, each)));
  const next = { ...unheld(state, nowMs), killAtMs: nowMs + graceMs };
  return [next, signalActions(next, order?.by ?? state.reason, holding.signal, graceMs, nowMs)];
}

/** The last worker may have ended meanwhile: then there's nobody left to stop. */
export function withoutNeedlessHold(state: Live, actions: readonly Action[], nowMs: number): Step {
  if (state.phase !== 'stopping' || state.holding === undefined || !isLeft(state))
    return [state, [...actions]];
  const next = { ...unheld(state, nowMs), killAtMs: nowMs + graceOf(state.policy, state.reason) };
  return [next, [...actions, ...endHold(state)]];
}

export function signalActions(
  { round }: Round,
  reason: StopReason,
  signal: string,
  graceMs: number,
  atMs: number,
): Action[] {
  return [
    { do: 'stop-group', round, signal, graceMs },
    { do: 'tell', event: { event: 'stopping', reason, signal, graceMs, atMs } },
  ];
}

/** Whether a stop for this reason costs a restart. */
export function isFailure(reason: StopReason): boolean {
  return reason === 'failure' || reason === 'hang';
}

export function sentWith(state: Stopping | undefined, signal: string): number[] {
  return [...(state?.sent ?? []), signalNumber(signal) ?? 15];
}

export function graceOf(policy: Policy, stop: StopReason): number {
  const { graceMs, graceByReasonMs } = policy;
  // A round that has failed elsewhere has failed; one that mustn't run is killed anyway.
  if (stop === 'ordered') return graceOf(policy, 'membership');
  const reason: GraceReason =
    stop === 'peer-failure' || stop === 'peer-lost' || stop === 'fenced' ? 'failure' : stop;
  const given = graceByReasonMs?.[reason];
  return given ?? (reason === 'hang' ? Math.min(hangGraceMs, graceMs) : graceMs);
}

export function hasStarted(state: Round): boolean {
  return state.workers.length > 0;
}

export function livingOf(state: Round): number {
  return state.workers.length - state.exits.filter(({ isGone }) => isGone).length;
}

export function orderOf({ by, signal }: StopOrder): Pick<StopOrder, 'by' | 'signal'> {
  return { by, signal };
}
