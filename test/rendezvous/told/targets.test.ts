import t from 'tap';
import { emptyLedger } from '../../../lib/failures/policy.js';
import { emptyView, type Member, type View } from '../../../lib/rendezvous/job/shared.js';
import { targetsOf } from '../../../lib/rendezvous/told/targets.js';

// What a node tries to reach beside a round.

/** Three nodes of a round, whose doors are at ports 1, 2, 3; the last one has none. */
const participants = ['a', 'b', 'c'].map(agent => ({
  agent,
  incarnation: 1,
  node: `${agent} (10.0.0.1)`,
  localWorldSize: 1,
}));

const view: View = {
  ...emptyView,
  members: new Map(
    participants.map((each, i) => {
      const door = each.agent === 'c' ? {} : { door: { host: '10.0.0.1', port: i + 1 } };
      const value: Member = { ...each, ...door, state: { is: 'running', round: 4 } };
      return [each.agent, { value, created: 1, modified: 1 }];
    }),
  ),
  round: {
    value: {
      number: 4,
      restartCount: 0,
      participants,
      ledger: emptyLedger,
      clock: 'a',
    },
    created: 1,
    modified: 1,
  },
};

function targets(groupRank: number, round = 4, servesStore = true) {
  const agent = participants[groupRank]?.agent ?? 'a';
  const self = { agent, node: `${agent} (10.0.0.1)`, localWorldSize: 1 };
  const place = { groupRank, groupWorldSize: 3, firstRank: groupRank, worldSize: 3 };
  const master = { host: '10.0.0.1', port: 29_400, isOurs: groupRank === 0 };
  return targetsOf({ view, self }, { round, restartCount: 0, place, master }, servesStore);
}

t.test('the store is tried by all but who serves it, and each node by the one before it', t => {
  const store = { what: 'store', at: { host: '10.0.0.1', port: 29_400 }, there: 'a (10.0.0.1)' };
  const door = (port: number, agent: string) => ({
    what: 'node',
    at: { host: '10.0.0.1', port },
    there: `${agent} (10.0.0.1)`,
  });

  t.strictSame(targets(0), [door(2, 'b')]);
  t.strictSame(targets(1), [store], 'one without a door is not tried');
  t.strictSame(targets(2), [store, door(1, 'a')]);
  t.strictSame(targets(2, 4, false), [door(1, 'a')], 'where a worker serves it, it comes later');
  t.strictSame(targets(1, 3), [], 'of a round that another has followed');
  t.end();
});

t.test('a node that is alone tries nothing', t => {
  const [alone] = participants;
  const kept = view.round;
  const one: View = {
    ...view,
    ...(kept === undefined || alone === undefined
      ? {}
      : { round: { ...kept, value: { ...kept.value, participants: [alone] } } }),
  };
  const place = { groupRank: 0, groupWorldSize: 1, firstRank: 0, worldSize: 1 };
  const master = { host: '10.0.0.1', port: 29_400, isOurs: true };
  const self = { agent: 'a', node: 'a (10.0.0.1)', localWorldSize: 1 };

  t.strictSame(
    targetsOf({ view: one, self }, { round: 4, restartCount: 0, place, master }, true),
    [],
  );
  t.end();
});
