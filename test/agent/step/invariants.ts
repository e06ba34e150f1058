import type { AgentState } from '../../../lib/agent/step/state.js';

/** What's wrong with a state, by the invariants that its fields are documented with; nothing: empty. */
export function violations(state: AgentState): readonly string[] {
  const wrong: string[] = [];
  const holds = (rule: string, is: boolean): void => {
    if (!is) wrong.push(`${state.phase}: ${rule}`);
  };
  if ('exits' in state) {
    const ranks = state.exits.map(({ worker }) => worker.localRank);
    holds('one exit for each worker', new Set(ranks).size === ranks.length);
    const known = state.workers.map(({ identity }) => identity);
    holds(
      'exits are of workers',
      state.exits.every(({ worker }) => known.includes(worker)),
    );
  }
  if ('next' in state && state.next !== 'none')
    holds('what is being prepared is known', state.following !== undefined);

  switch (state.phase) {
    case 'starting':
      holds('nobody has ended', state.exits.length === 0 && state.workers.length === 0);
      break;
    case 'running':
      holds('there are workers', state.workers.length > 0);
      break;
    case 'stopping': {
      const isUntold = state.signaledAtMs === undefined && state.sent.length === 0;
      holds('nothing is sent while a hook holds it up', state.holding === undefined || isUntold);
      holds(
        'no grace period runs while a hook holds it up',
        state.holding === undefined || state.killAtMs === Number.POSITIVE_INFINITY,
      );
      const isWanted = state.order === undefined && state.notice === undefined;
      holds('no round follows an order or a notice', state.next === 'none' || isWanted);
      break;
    }
    case 'describing': {
      const isOrdered = state.stop?.order !== undefined || state.notice !== undefined;
      holds('no round follows an order or a notice', state.next === 'none' || !isOrdered);
      holds(
        'only a failed or successful round waits for a verdict',
        state.failures === undefined ||
          ['failure', 'hang'].includes(state.stop?.reason ?? '') ||
          (state.stop === undefined && state.failures.length === 0 && state.notice === undefined),
      );
      break;
    }
    case 'joining':
      holds('the rendezvous is the last pause', state.pauses.at(-1)?.name === 'join');
      holds('there is one', state.pauses.filter(({ name }) => name === 'join').length === 1);
      break;
    case 'after':
      holds('something is waited for', state.pauses.length > 0);
      holds('and it is no round', !state.pauses.some(({ name }) => name === 'join'));
      break;
    case 'idle':
    case 'preparing':
    case 'ended':
      break;
  }
  return wrong;
}
