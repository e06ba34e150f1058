import type { FormedRound, RoundPlan } from '../../rendezvous/rendezvous.js';
import type { Action, AgentState, Joining, NextRound, Of, Policy, Step } from './state.js';
import { finish } from './transitions.js';

/** How a round comes about: it's prepared, perhaps while the one before ends, it's formed, and then it starts. */

/** The rendezvous is over: this node knows its round. */
export function onFormed(state: AgentState, { event: _, ...formed }: Of<'round-formed'>): Step {
  if (state.phase !== 'joining' || state.pauses[0]?.name !== 'join') return [state, []];
  const { policy, failures } = state;
  // Another one may have been formed than was to be expected.
  const isExpected = state.following?.round === formed.round;
  const next = isExpected ? state.next : 'none';
  const discard = isExpected ? [] : discardNext(state);
  if (next === 'ready') return start(policy, formed);
  if (typeof next === 'object') return failToStart(policy, formed, next.error);
  return [
    { phase: 'preparing', policy, ...formed, failures },
    next === 'under-way' ? [] : [...discard, { do: 'prepare-round', plan: planOf(formed) }],
  ];
}

export function onPrepared(state: AgentState, { round, error }: Of<'prepared'>): Step {
  switch (state.phase) {
    case 'preparing': {
      if (round !== state.round) return [state, []];
      const { phase: _, failures: __, policy, ...formed } = state;
      if (error !== undefined) return failToStart(policy, formed, error);
      return start(policy, formed);
    }
    case 'stopping':
    case 'describing':
    case 'joining':
      if (round !== state.following?.round || state.next !== 'under-way') return [state, []];
      return [{ ...state, next: error === undefined ? 'ready' : { error } }, []];
    default:
      // A round that isn't wanted any more.
      return [state, []];
  }
}

/** Discards the next round, which won't start after all, however far it is. */
export function discardNext({
  next,
  following,
}: Pick<Joining, 'following'> & { readonly next: NextRound }): Action[] {
  if (next === 'none' || following === undefined) return [];
  return [{ do: 'discard-round', plan: following }];
}

function start(policy: Policy, formed: FormedRound): Step {
  return [
    { phase: 'starting', policy, ...formed, workers: [], exits: [] },
    [{ do: 'start-round', round: formed.round }],
  ];
}

function failToStart(policy: Policy, formed: FormedRound, error: unknown): Step {
  return finish(policy, { outcome: 'error', error }, [
    { do: 'discard-round', plan: planOf(formed) },
  ]);
}

/** A round without what would follow it. */
export function planOf({ round, restartCount, place, master }: FormedRound): RoundPlan {
  return { round, restartCount, place, ...(master === undefined ? {} : { master }) };
}
