import t from 'tap';
import { createRestarts } from '../../../lib/agent/restarts/restarts.js';
import type { AgentState, Happening } from '../../../lib/agent/step/state.js';
import { step } from '../../../lib/agent/step/step.js';
import type { AgentEvent } from '../../../lib/events.js';

function starting(round: number): AgentState {
  return {
    phase: 'starting',
    policy: { graceMs: 0 },
    round,
    restartCount: round,
    place: { groupRank: 0, groupWorldSize: 1, firstRank: 0, worldSize: 0 },
    workers: [],
    exits: [],
  };
}

t.test("18.1: the first use of a round's store is told behind the round's start", t => {
  const told: string[] = [];
  const tell = (event: AgentEvent): void => {
    if ('round' in event) told.push(`${event.event} ${event.round}`);
  };
  const restarts = createRestarts(true, { tell, nowMs: () => 0 });
  // As the agent performs it.
  const start = (round: number): void => {
    const before = starting(round);
    const happening: Happening = {
      event: 'started',
      round,
      atMs: 1,
      workers: [],
      masterAddr: '127.0.0.1',
      masterPort: 1,
      rendezvousMs: 0,
    };
    const [after, actions] = step(before, happening, 2);
    for (const action of actions) if (action.do === 'tell') tell(action.event);
    restarts.note(before, happening, [after, actions], 2);
  };

  restarts.used(0, 1);
  t.strictSame(told, []);
  start(0);
  t.strictSame(told.splice(0), ['round-started 0', 'store-used 0']);

  // A round that never starts has no use of its store.
  restarts.used(1, 3);
  start(2);
  restarts.used(2, 4);
  t.strictSame(told, ['round-started 2', 'store-used 2']);
  restarts.close();
  t.end();
});
