import type { Action, Ending, Joining, Policy, Step } from './state.js';

/** The run is over: `first`, and then the last action of all. */
export function finish(policy: Policy, ending: Ending, first: readonly Action[] = []): Step {
  return [{ phase: 'ended', policy }, [...first, { do: 'finish', ending }]];
}

/** Enters `joining`, where no worker runs: tells what's to be told, and begins the first pause. */
export function join(state: Joining, told: readonly Action[] = []): Step {
  const { round, pauses } = state;
  const [pause] = pauses;
  return [
    state,
    [...(pause === undefined ? [] : [{ do: 'begin-pause', round, pause } as const]), ...told],
  ];
}
