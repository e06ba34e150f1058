import t from 'tap';
import { type Candidate, chosenOf, leastSize, sizeOf } from '../../../lib/rendezvous/job/choose.js';
import { orderOf } from '../../../lib/rendezvous/job/order.js';
import type { Settings } from '../../../lib/rendezvous/job/shared.js';
import { emptyView, type MemberState, type View } from '../../../lib/rendezvous/job/shared.js';
import { isTooMany } from '../../../lib/rendezvous/job/spares.js';
import { settingsOf } from './settings.js';

/** Nodes by name: `a1` is of group a, and `2` of none. They have come in this order. */
function nodes(names: string): readonly Candidate[] {
  return names
    .split(' ')
    .filter(name => name !== '')
    .map((node, since) => {
      const group = /^[a-z]/.exec(node)?.[0];
      const near = group === undefined ? {} : { group };
      return { agent: `agent ${node}`, incarnation: 1, node, localWorldSize: 1, since, ...near };
    });
}

function roundOf(
  waiting: string,
  before: string,
  settings: Partial<Settings> = {},
  hints: Readonly<Record<string, number>> = {},
): string {
  const all = settingsOf({ minNodes: 1, maxNodes: 8, ...settings });
  const candidates = nodes(waiting).map(each => {
    const hint = hints[each.node];
    return hint === undefined ? each : { ...each, hint };
  });
  const chosen = chosenOf(candidates, nodes(before), all);
  return orderOf(chosen, nodes(before))
    .map(({ node }) => node)
    .join(' ');
}

t.test('MN-42 the first order is that of hints, and else the natural one of names', t => {
  t.equal(roundOf('node10 node9 node2', ''), 'node2 node9 node10');
  t.equal(roundOf('node10 node9 node2', '', {}, { node10: 0, node9: 7 }), 'node10 node9 node2');
  const sorted = 'a a1 a1-9 a1-10 a02 a3b1 a3b02 a10000000000000000001 a10000000000000000002 b';
  t.equal(roundOf(sorted.split(' ').reverse().join(' '), '', { maxNodes: 16 }), sorted);
  t.end();
});

t.test('R-034 MN-43 whoever took part has its rank again, and others fill the holes', t => {
  t.equal(roundOf('4 3 2 1', '3 1 4 2'), '3 1 4 2');
  t.equal(roundOf('6 4 3 5', '3 1 4 2'), '3 5 4 6');
  t.equal(
    roundOf('9 4 1', '3 1 4 2', { maxNodes: 2 }),
    '4 1',
    'the later rank is no rank any more',
  );
  t.end();
});

t.test('MN-46 a round has one of the numbers of nodes that are legal', t => {
  const settings = settingsOf({ minNodes: 2, maxNodes: 8, nodesSet: [2, 4, 8] });
  const sizes = [0, 1, 2, 3, 4, 5, 7, 8, 9].map(count => sizeOf(settings, count));
  t.strictSame(sizes, [0, 0, 2, 2, 4, 4, 4, 8, 8]);
  t.equal(sizeOf({ ...settings, nodesSet: [], nodesPerUnit: 3, maxNodes: 6 }, 5), 3);
  t.equal(
    sizeOf({ ...settings, nodesSet: [], nodesPerUnit: 2, groupSize: 3, maxNodes: 12 }, 11),
    6,
  );
  t.equal(leastSize(settings), 2);
  t.equal(leastSize({ ...settings, minNodes: 3 }), 4);
  t.equal(leastSize({ ...settings, nodesSet: [], groupSize: 4, minNodes: 5 }), 8);
  t.end();
});

t.test('MN-32 those who were in the last round are preferred, then those who wait longest', t => {
  t.equal(roundOf('5 1 2', '1 2', { maxNodes: 2 }), '1 2');
  t.equal(roundOf('6 5 1', '1 2', { maxNodes: 2 }), '1 6');
  t.end();
});

t.test('nodes of a group have ranks that follow each other', t => {
  t.equal(roundOf('b1 a1 b2 1 a2', ''), '1 a1 a2 b1 b2');
  t.equal(roundOf('b1 a1 b2 a2', '', {}, { b1: 0, a1: 1, b2: 2, a2: 3 }), 'b1 b2 a1 a2');
  t.equal(roundOf('a1 b1 b0 a9', 'a1 a2 b1 b2'), 'a1 a9 b1 b0', 'a newcomer goes to its own');
  t.equal(roundOf('a1 a2 b2 c1', 'a1 a2 b1 b2'), 'a1 a2 c1 b2', 'a stranger between groups');
  t.equal(roundOf('a1 b3 b1 b2', 'a1 a2 b1 b2'), 'a1 b3 b1 b2', 'a hole beside their own');
  t.equal(roundOf('a2 b3 b1 b2', 'a1 a2 b1 b2'), 'b3 b1 b2 a2', 'not at the cost of a group');
  t.end();
});

t.test(
  'MN-33 with a size of groups, a group that is not whole any more is replaced by another',
  t => {
    const four = { maxNodes: 4, minNodes: 2, groupSize: 2 };
    t.equal(roundOf('a1 a2 b1 b2 c1 c2', '', four), 'a1 a2 b1 b2');
    t.equal(roundOf('a2 b1 b2 c1 c2', 'a1 a2 b1 b2', four), 'c1 c2 b1 b2');
    t.equal(roundOf('a2 b1 b2 c1 a3', 'a1 a2 b1 b2', four), 'a3 a2 b1 b2', 'by one of its own');
    t.equal(roundOf('a2 b1 b2 c1', 'a1 a2 b1 b2', four), 'b1 b2', 'or by nobody');
    t.equal(roundOf('a2 b1 c1', 'a1 a2 b1 b2', four), '');
    t.equal(roundOf('1 2 3', '', { ...four, minNodes: 1 }), '1 2', 'nodes of no group are one');
    t.end();
  },
);

t.test('a node is one too many where so many as may wait are there before it', t => {
  const member = (agent: string, is: MemberState['is'], created: number) => {
    const state = { is, round: 0 };
    const value = { agent, incarnation: 1, node: agent, localWorldSize: 1, state };
    return [agent, { value, created, modified: created }] as const;
  };
  const view = (...members: readonly ReturnType<typeof member>[]): View => ({
    ...emptyView,
    members: new Map(members),
  });
  const settings = settingsOf({ minNodes: 1, maxNodes: 1, spares: 1 });
  const all = [member('a', 'waiting', 1), member('b', 'running', 3), member('c', 'waiting', 2)];

  t.equal(isTooMany(view(...all), 'c', settings), true);
  t.equal(isTooMany(view(...all), 'a', settings), false, 'it was there before');
  t.equal(isTooMany(view(...all), 'b', settings), false, 'it takes part');
  t.equal(isTooMany(view(...all), 'd', settings), false, 'nobody knows it');
  t.equal(isTooMany(view(...all), 'c', { ...settings, spares: 2 }), false);
  t.equal(isTooMany(view(...all), 'c', settingsOf({ minNodes: 1, maxNodes: 1 })), false);
  const leaves = [...all.slice(1), member('a', 'leaving', 1)];
  t.equal(isTooMany(view(...leaves), 'c', settings), false, 'one leaves');
  t.end();
});
