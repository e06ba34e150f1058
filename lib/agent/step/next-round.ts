import type { WorkerFailure } from '../../events.js';
import type { Ledger } from '../../failures/policy.js';
import type { Action, AgentState, NextRound, Of, Policy, Step } from './state.js';
import { finish } from './transitions.js';

/** How a round comes about: it's prepared, perhaps while the one before ends, and then it starts. */

export interface RoundToCome {
  readonly policy: Policy;
  readonly round: number;
  readonly ledger: Ledger;
  /** Of the round before. */
  readonly failures: readonly WorkerFailure[];
}

/** As many restarts as rounds before it, free ones included: attempts have numbers of their own. */
export function startRound(
  { policy, round, ledger, failures }: RoundToCome,
  next: NextRound,
): Step {
  const restartCount = round;
  if (next === 'ready') return start({ policy, round, restartCount, ledger });
  if (typeof next === 'object') return failToStart({ policy, round, restartCount }, next.error);
  return [
    { phase: 'preparing', policy, round, restartCount, ledger, failures },
    next === 'under-way' ? [] : [{ do: 'prepare-round', round, restartCount }],
  ];
}

/** With what else is told: new workers first, for that can wait a few microseconds. Nothing follows a run's end. */
export function whileStarting([next, actions]: Step, told: readonly Action[]): Step {
  return [next, next.phase === 'ended' ? [...told, ...actions] : [...actions, ...told]];
}

export function onPrepared(state: AgentState, { round, error }: Of<'prepared'>): Step {
  switch (state.phase) {
    case 'preparing':
      if (round !== state.round) return [state, []];
      return error === undefined ? start(state) : failToStart(state, error);
    case 'stopping':
    case 'describing':
    case 'between':
      if (round !== state.round + 1 || state.next !== 'under-way') return [state, []];
      return [{ ...state, next: error === undefined ? 'ready' : { error } }, []];
    default:
      // A round that isn't wanted any more.
      return [state, []];
  }
}

/** It won't start after all, however far it is. */
export function discardNext(state: {
  readonly round: number;
  readonly restartCount: number;
  readonly next: NextRound;
}): Action[] {
  const { round, restartCount, next } = state;
  if (next === 'none') return [];
  return [{ do: 'discard-round', round: round + 1, restartCount: restartCount + 1 }];
}

type Numbers = Pick<
  Extract<AgentState, { phase: 'preparing' }>,
  'policy' | 'round' | 'restartCount'
>;

function start({
  policy,
  round,
  restartCount,
  ledger,
}: Numbers & { readonly ledger: Ledger }): Step {
  return [
    {
      phase: 'starting',
      policy,
      round,
      restartCount,
      ledger,
      workers: [],
      exits: [],
    },
    [{ do: 'start-round', round }],
  ];
}

function failToStart({ policy, round, restartCount }: Numbers, error: unknown): Step {
  return finish(policy, { outcome: 'error', error }, [
    { do: 'discard-round', round, restartCount },
  ]);
}
