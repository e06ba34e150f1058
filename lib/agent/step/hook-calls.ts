import { isFailed } from '../../failures/failure.js';
import type { HookName } from '../../options/hooks.js';
import type { Action, GroupStop, HookCall, Policy, Round } from './state.js';

/** Which hooks run, and what they're told. */

type About = Omit<HookCall, 'name'>;

/** The call of a hook, if the user configured it: none or one. */
export function hookCalls({ hooks }: Policy, name: HookName, about: About): HookCall[] {
  return hooks?.includes(name) ? [{ name, ...about }] : [];
}

/** Before the stop: the failure that was heard of first. What came first is known at the end alone. */
export function aboutStop(state: Round & GroupStop): About {
  const failed = state.hang ?? state.exits.find(isFailed);
  return aboutEnd(state.round, state, failed?.worker.rank);
}

/** @param failedRank the root cause's */
export function aboutEnd(
  round: number,
  { reason, order }: GroupStop,
  failedRank: number | undefined,
): About {
  switch (reason) {
    case 'failure':
    case 'hang':
      return { round, reason, ...(failedRank === undefined ? {} : { failedRank }) };
    case 'preempt':
      return { round, reason: 'preempted' };
    case 'peer-failure':
    case 'peer-lost':
    case 'membership':
    case 'ordered':
    case 'fenced':
      return { round, reason };
    default:
      return { round, reason: order?.by === 'signal' ? order.signal : 'caller' };
  }
}

export function hookFailed({ name, round }: HookCall, problem: string, atMs: number): Action {
  return {
    do: 'tell',
    event: { event: 'hook-failed', hook: name, round, reason: problem, atMs },
  };
}
