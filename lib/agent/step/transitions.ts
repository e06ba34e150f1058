import type { Action, Ending, Policy, Step } from './state.js';

/** The run is over: `first`, and then the last action of all. */
export function finish(policy: Policy, ending: Ending, first: readonly Action[] = []): Step {
  return [{ phase: 'ended', policy }, [...first, { do: 'finish', ending }]];
}
