import t from 'tap';
import { type Agent, allStarted, codes, gathered, startCluster, succeed } from '../harness.js';

// Rounds of whole groups, and nodes that have failed too often.

/** Nodes of a round, by group rank. */
function inOrder(workers: readonly { readonly node: string; readonly groupRank: number }[]) {
  return [...workers].sort((a, b) => a.groupRank - b.groupRank).map(({ node }) => node);
}

t.test(
  'MN-33 R-042 L-111 a group that misses a node is replaced as a whole, by a whole one',
  async t => {
    const cluster = await startCluster(t, 6);
    const { endpoint } = await cluster.serve();
    const join = (i: number): Agent => {
      const node = cluster.nodes[i] as (typeof cluster.nodes)[0]; // of six
      const options = ['--group-size=2', `--node-group=rack${Math.floor(i / 2)}`];
      return cluster.join(node, { nnodes: '4', endpoint, options });
    };
    // Neighbours in time aren't in groups.
    const [a1, b1, a2, b2] = [join(0), join(2), join(1), join(3)];
    t.strictSame(inOrder(await allStarted([a1, b1, a2, b2], 0)), [
      'node1',
      'node2',
      'node3',
      'node4',
    ]);
    const [c1, c2] = [join(4), join(5)];
    for (const spare of [c1, c2]) await spare.line(/the round is full: waiting for a place/);

    a2.kill('SIGKILL');

    const next = await allStarted([b1, b2, c1, c2], 1);
    t.strictSame(inOrder(next), ['node5', 'node6', 'node3', 'node4']);
    for (const { world } of next) t.equal(world, 4);
    await a1.line(/waiting for a place/);
    t.equal(a1.output().match(/^started /gm)?.length, 1, 'one of two takes no part');
    succeed(cluster.nodes.slice(2));
    t.strictSame(await codes([a1, b1, b2, c1, c2]), [0, 0, 0, 0, 0]);
  },
);

t.test('MN-43 ranks stay where they were, until a node with strikes is left out', async t => {
  const cluster = await startCluster(t, 3);
  const { endpoint } = await cluster.serve();
  const meeting = { nnodes: '2', endpoint, options: ['--max-restarts=9', '--strikes=3/10m'] };
  const [one, two, three] = cluster.nodes;
  const agents = [one, two].map(node => cluster.join(node, meeting));
  await allStarted(agents, 0);
  const spare = cluster.join(three, meeting);
  await spare.line(/waiting for a place/);

  for (const [i, node] of [two, one, two].entries()) {
    node.tell('exit 3');
    const after = await allStarted(agents, i + 1);
    t.strictSame(inOrder(after), ['node1', 'node2']);
  }
  two.tell('exit 3');

  const [left] = agents as [Agent];
  t.strictSame(inOrder(await gathered([left, spare], 2)), ['node1', 'node3']);
  for (const agent of [...agents, spare])
    await agent.line(
      /node2 \(\S+\) was the root cause of 3 failures within 10 min.*: it's left out/,
    );
  succeed([one, three]);
  t.strictSame(await codes([...agents, spare]), [0, 0, 0]);
});
