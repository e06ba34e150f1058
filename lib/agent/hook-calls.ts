import type { HookName } from '../options/hooks.js';
import { inOrderOfReport, isSuccess, notGoneYet } from './exits.js';
import type { Action, AgentState, Exit, HookCall, Policy } from './state.js';

/** Which hooks run, and what they're told. */

type Stopping = Extract<AgentState, { phase: 'stopping' }>;

type About = Omit<HookCall, 'name'>;

/** None or one. */
export function hookCalls({ hooks }: Policy, name: HookName, about: About): HookCall[] {
  return hooks?.includes(name) ? [{ name, ...about }] : [];
}

/** Before the stop: who seems to have failed by then. */
export function aboutStop(state: Stopping): About {
  const seen = inOrderOfReport([...state.exits, ...notGoneYet(state)], state.dying);
  const failed = state.hang === undefined ? seen.find(({ exit }) => !isSuccess(exit)) : state.hang;
  return about(state, failed);
}

/** @param root of the failure, if one ended it; `how` is for rounds that nobody stopped */
export function aboutEnd(
  state: Stopping | { readonly phase: 'starting' | 'running'; readonly round: number },
  root: Exit | undefined,
  how: 'success' | 'preempted',
): About {
  if (state.phase === 'stopping') return about(state, root);
  return { round: state.round, reason: how };
}

function about(
  { round, reason, order }: Stopping,
  failed: Pick<Exit, 'worker'> | undefined,
): About {
  switch (reason) {
    case 'failure':
    case 'hang':
      return { round, reason, ...(failed === undefined ? {} : { failedRank: failed.worker.rank }) };
    case 'preempt':
      return { round, reason: 'preempted' };
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
