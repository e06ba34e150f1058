import t from 'tap';
import { emptyView, type View } from '../../lib/rendezvous/job/shared.js';
import { holderOfRank } from '../../lib/rendezvous/told/elsewhere.js';
import { refusal, tooFew, tooMany } from '../../lib/rendezvous/words.js';
import { settingsOf } from './job/settings.js';

t.test('MN-47 R-056 one that was started otherwise is told both ways', t => {
  const ours = settingsOf({ minNodes: 2, maxNodes: 4 });
  const theirs = { ...ours, nodesSet: [2, 4], groupSize: 2, leaseMs: 9_000, spares: 0 };

  t.equal(
    refusal(theirs, ours),
    'the job was started with --nnodes 2:4 --nnodes-set 2,4 --group-size 2 --lease 9000ms --spares 0, and this node with --nnodes 2:4; give all nodes the same, or another --rdzv-id',
  );
  t.match(refusal({ ...ours, version: 1 }, ours), /^the job was started by another version of/);
  t.end();
});

t.test('too few nodes are told with how many it takes', t => {
  const settings = settingsOf({ minNodes: 3, maxNodes: 8 });

  t.match(tooFew(emptyView, settings, 5_000), /^3 nodes are needed, and none came in 5 s; /);
  t.match(tooFew(emptyView, { ...settings, nodesSet: [4, 8] }, 5_000), /^4 nodes are needed, and/);
  t.match(
    tooFew(emptyView, { ...settings, groupSize: 4 }, 5_000),
    /^4 nodes are needed, 4 or a multiple of each group, and none came/,
  );
  t.end();
});

t.test('one too many is told how many there may be', t => {
  const settings = settingsOf({ minNodes: 2, maxNodes: 4, spares: 1 });

  t.match(tooMany(settings, 5_000), /^the job has had its 4 nodes and 1 spares for 5 s, and this/);
  t.end();
});

/** Nodes with their ranks, in the order in which they came. */
function viewOf(...nodes: readonly (readonly [agent: string, node: string, rank: number])[]): View {
  const state = { is: 'waiting', round: -1 } as const;
  const members = nodes.map(([agent, node, hint], at) => {
    const value = { agent, incarnation: 1, node, localWorldSize: 1, hint, state };
    return [agent, { value, created: at, modified: at }] as const;
  });
  return { ...emptyView, members: new Map(members) };
}

t.test("MN-39 a rank is the node's that was first to take it", async t => {
  const b = { agent: 'b', node: 'node2', localWorldSize: 1, hint: 0 };

  const taken = viewOf(['a', 'node1', 0], ['b', 'node2', 0]);
  t.match(holderOfRank({ view: taken, self: b }), { agent: 'a', node: 'node1', isHere: false });
  const here = viewOf(['a', 'node2', 0], ['b', 'node2', 0]);
  t.match(holderOfRank({ view: here, self: b }), { agent: 'a', isHere: true }, 'perhaps no more');
  for (const view of [
    viewOf(['b', 'node2', 0], ['a', 'node1', 0]),
    viewOf(['a', 'node1', 1], ['b', 'node2', 0]),
    viewOf(['a', 'node1', 0]),
  ])
    t.equal(holderOfRank({ view, self: b }), undefined);
});
