import type { StopReason } from '../events.js';
import type { GraceReason } from '../options/grace.js';
import { signalNumber } from '../util/signals.js';
import { notGoneYet } from './exits.js';
import { mayRestart } from './failure-policy.js';
import type { Hang } from './hang.js';
import type { Action, AgentState, Happening, Policy, Round, StopOrder } from './state.js';

/** How a group is stopped, and the words that the other parts of `step` share. */

export type Step = [AgentState, Action[]];

export type Live = Extract<AgentState, { phase: 'starting' | 'running' | 'stopping' }>;

export type Between = Extract<AgentState, { phase: 'between' }>;

export type Stopping = Extract<AgentState, { phase: 'stopping' }>;

export type Of<E extends Happening['event']> = Extract<Happening, { event: E }>;

/**
 * The same signal again within this time is the first one, delivered twice: npm, srun and shells
 * forward what a terminal's Ctrl-C has sent to the whole foreground group already. Taken for
 * impatience, it would cost the workers the time to write their checkpoint.
 */
export const echoMs = 100;

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
  const { policy, round, restartCount } = state;
  const graceMs = why.signal === 'SIGKILL' ? 0 : graceOf(policy, why.reason);
  const next: Stopping = {
    ...state,
    phase: 'stopping',
    reason: why.reason,
    ...(why.order === undefined ? {} : { order: why.order }),
    ...(why.hang === undefined ? {} : { hang: why.hang }),
    sinceMs: nowMs,
    killAtMs: nowMs + graceMs,
    sent: sentWith(undefined, why.signal),
    prepared: isFailure(why.reason) && mayRestart(policy.failures, state.ledger),
  };
  const prepare: Action[] = next.prepared
    ? [{ do: 'prepare-round', round: round + 1, restartCount: restartCount + 1 }]
    : [];
  // The failed worker may have been the last; then there's nobody to stop and nothing to tell.
  const nobody = state.phase === 'running' && livingOf(state) === notGoneYet(state).length;
  const signals = nobody ? [] : signalActions(next, why.reason, why.signal, graceMs, nowMs);
  return [next, [...signals, ...prepare]];
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

/** Whether it costs a restart. */
export function isFailure(reason: StopReason): boolean {
  return reason === 'failure' || reason === 'hang';
}

/** SIGKILL is always among them: the core sends it when the grace period ends. */
export function sentWith(state: Stopping | undefined, signal: string): number[] {
  return [...(state?.sent ?? [9]), signalNumber(signal) ?? 15];
}

export function graceOf(policy: Policy, reason: GraceReason): number {
  const { graceMs, graceByReasonMs } = policy;
  const given = graceByReasonMs?.[reason];
  return given ?? (reason === 'hang' ? Math.min(hangGraceMs, graceMs) : graceMs);
}

export function hasStarted(state: Round): boolean {
  return state.workers.length > 0;
}

export function livingOf(state: Round): number {
  return state.workers.length - state.exits.length;
}

export function orderOf({ by, signal }: StopOrder): Pick<StopOrder, 'by' | 'signal'> {
  return { by, signal };
}
