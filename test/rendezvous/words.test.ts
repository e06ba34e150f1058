import t from 'tap';
import { emptyView, tableVersion, type View } from '../../lib/rendezvous/job/shared.js';
import { holderOfRank } from '../../lib/rendezvous/told/elsewhere.js';
import { refusal } from '../../lib/rendezvous/words.js';

const ours = {
  version: tableVersion,
  minNodes: 2,
  maxNodes: 2,
  nodesPerUnit: 1,
  nodesSet: [],
  groupSize: 1,
};

t.test('MN-47 R-056 whoever was started otherwise is told what both said', async t => {
  t.equal(
    refusal({ ...ours, maxNodes: 4, nodesPerUnit: 2 }, ours),
    'the job was started with --nnodes 2:4 --nnodes-unit 2, and this node with --nnodes 2; give all nodes the same, or another --rdzv-id',
  );
  t.equal(
    refusal({ ...ours, version: 99 }, ours),
    `the job was started by another version of regroup (table 99, and ours is ${tableVersion}); give all nodes the same version`,
  );
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
  t.equal(holderOfRank({ view: taken, self: b }), 'node1');
  for (const view of [
    viewOf(['b', 'node2', 0], ['a', 'node1', 0]),
    viewOf(['a', 'node1', 1], ['b', 'node2', 0]),
    viewOf(['a', 'node2', 0], ['b', 'node2', 0]),
    viewOf(['a', 'node1', 0]),
  ])
    t.equal(holderOfRank({ view, self: b }), undefined);
});
