import t from 'tap';
import { gone } from '../harness.js';
import { allStarted, codes, startCluster, succeed } from './harness.js';

// Who is in a round: several agents, each on a node of its own. There's no restart in the budget, so that a change of
// membership which spent one would end the job.

t.test(
  'MN-41 MN-48 R-017 R-034 all nodes come into one world, which they reach at rank 0',
  async t => {
    const cluster = await startCluster(t, 3);
    const agents = cluster.nodes.map((node, i) =>
      cluster.join(node, { nnodes: '3', options: [`--nproc-per-node=${i === 0 ? 2 : 1}`] }),
    );
    const [one, two, three] = agents as [
      (typeof agents)[0],
      (typeof agents)[0],
      (typeof agents)[0],
    ];

    const workers = await allStarted([one, one, two, three], 0);

    t.strictSame(workers.map(({ rank }) => rank).sort(), [0, 1, 2, 3]);
    for (const { node, rank, groupRank, localRank, world, masterAddr, restartCount } of workers) {
      t.equal(world, 4);
      t.equal(restartCount, 0);
      t.equal(
        rank,
        groupRank === 0 ? localRank : groupRank + 1,
        'ranks of a node follow each other',
      );
      t.equal(node, `node${groupRank + 1}`, 'in the order of their names');
      t.equal(masterAddr, cluster.nodes[0].address);
    }
    t.equal(new Set(workers.map(({ masterPort }) => masterPort)).size, 1);
    for (const [i, node] of cluster.nodes.entries()) {
      node.tell('reach');
      t.equal(await agents[i]?.line(/^reached/), `reached ${cluster.nodes[0].address}`);
    }
    cluster.nodes[0].tell('exit 0', 1);
    succeed(cluster.nodes);
    t.strictSame(await codes(agents), [0, 0, 0]);
  },
);

t.test('MN-44 R-018 R-040 R-048 a node that comes late makes the world larger', async t => {
  const cluster = await startCluster(t, 3);
  const meeting = { nnodes: '2:3', options: ['--rdzv-conf=last_call_timeout=1'] };
  const [one, two, three] = cluster.nodes;
  // By its name the late one would be first.
  const old = [cluster.join(one, meeting), cluster.join(three, meeting)];
  const before = await allStarted(old, 0);

  const late = cluster.join(two, meeting);

  const after = await allStarted([...old, late], 1);
  t.strictSame(
    before.map(({ world }) => world),
    [2, 2],
  );
  t.match(after, [
    { world: 3, rank: 0, node: 'node1' },
    { world: 3, rank: 1, node: 'node3' },
    { world: 3, rank: 2, node: 'node2' },
  ]);
  t.ok(await gone(before.map(({ pid }) => pid)));
  succeed(cluster.nodes);
  t.strictSame(await codes([...old, late]), [0, 0, 0]);
});

t.test('MN-25 MN-28 R-040 R-041 a node that is told to end leaves, and may come back', async t => {
  const cluster = await startCluster(t, 2);
  const [one, two] = cluster.nodes;
  const stays = cluster.join(one, { nnodes: '1:2' });
  const leaves = cluster.join(two, { nnodes: '1:2' });
  await allStarted([stays, leaves], 0);

  leaves.kill('SIGTERM');
  t.match(await leaves.end(), { code: 1 });
  t.match(await stays.started(), { world: 1, rank: 0 });

  const back = cluster.join(two, { nnodes: '1:2' });
  t.match(await allStarted([stays, back], 2), [
    { world: 2, rank: 0 },
    { world: 2, rank: 1 },
  ]);
  succeed(cluster.nodes);
  t.strictSame(await codes([stays, back]), [0, 0]);
});

t.test('MN-29 R-019 R-020 a node too many takes over a vacancy', async t => {
  const cluster = await startCluster(t, 3);
  const { endpoint } = await cluster.serve();
  const meeting = { nnodes: '2', endpoint };
  const [one, two, three] = cluster.nodes;
  const first = cluster.join(one, meeting);
  const second = cluster.join(two, meeting);
  await allStarted([first, second], 0);

  const spare = cluster.join(three, meeting);
  second.kill('SIGKILL');
  t.match(await allStarted([first, spare], 1), [
    { world: 2, rank: 0 },
    { world: 2, rank: 1 },
  ]);

  succeed([one, three]);
  t.strictSame(await codes([first, spare]), [0, 0]);
});

t.test(
  'MN-32 a node that comes back in time has its place again, and a spare that of one that leaves',
  async t => {
    const cluster = await startCluster(t, 3);
    const { endpoint } = await cluster.serve();
    // Far longer than it takes: only one that is back, or isn't awaited, ends it.
    const meeting = { nnodes: '2', endpoint, options: ['--spares=1', '--return-grace=10m'] };
    const [one, two, three] = cluster.nodes;
    const stays = cluster.join(one, meeting);
    const returns = cluster.join(two, meeting);
    await allStarted([stays, returns], 0);
    const spare = cluster.join(three, meeting);

    const back = await two.restart(returns);
    t.match(await allStarted([stays, back], 1), [
      { world: 2, rank: 0 },
      { world: 2, rank: 1 },
    ]);
    back.kill('SIGTERM');
    t.match(await allStarted([stays, spare], 2), [
      { world: 2, rank: 0 },
      { world: 2, rank: 1 },
    ]);

    succeed([one, three]);
    t.strictSame(await codes([stays, spare]), [0, 0]);
  },
);

t.test(
  'MN-31 MN-46 R-042 rounds have a legal number of nodes, and one that waits ends with the job',
  async t => {
    const cluster = await startCluster(t, 4);
    const { endpoint } = await cluster.serve();
    const options = ['--nnodes-set=2,4', '--rdzv-conf=last_call_timeout=1'];
    const meeting = { nnodes: '2:4', endpoint, options };
    const [one, two, ...others] = cluster.nodes;
    const first = [one, two].map(node => cluster.join(node, meeting));
    await allStarted(first, 0);

    const late = others.map(node => cluster.join(node, meeting));
    for (const { world } of await allStarted([...first, ...late], 1)) t.equal(world, 4);
    late.at(-1)?.kill('SIGKILL');
    for (const { world } of await allStarted(first, 2)) t.equal(world, 2, 'and not 3');

    succeed([one, two]);
    t.strictSame(await codes([...first, ...late.slice(0, 1)]), [0, 0, 0]);
  },
);
