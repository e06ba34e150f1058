import type { Action } from './state.js';

/**
 * The order in which a step's actions are done: what workers wait for, what the next round waits for, what people are
 * told, what may wait, and the end of the run. Of one kind they keep the order in which they were decided.
 */
const kinds: Readonly<Record<Action['do'], number>> = {
  // Workers: rules that would take their silence for a hang are over before they're asked to save.
  'unwatch-round': 0,
  'set-notice': 0,
  'signal-group': 0,
  'stop-group': 0,
  'end-pause': 0,
  // Workers of other nodes.
  announce: 0,
  leave: 0,
  // The next round, and what's known of the last one.
  'start-round': 1,
  describe: 1,
  report: 1,
  succeed: 1,
  conclude: 1,
  'begin-pause': 1,
  // People.
  tell: 2,
  'tell-outlasting': 2,
  // Whatever nobody waits for.
  'watch-round': 3,
  'arm-preempt-limit': 3,
  'release-round': 3,
  'discard-round': 3,
  'prepare-round': 3,
  finish: 4,
};

export function inOrder(actions: readonly Action[]): Action[] {
  return [...actions].sort((one, other) => kinds[one.do] - kinds[other.do]);
}
