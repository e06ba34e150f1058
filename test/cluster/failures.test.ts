import t from 'tap';
import { gone } from '../harness.js';
import { allStarted, codes, startCluster, succeed } from './harness.js';

// What fails on one node, and what becomes of the others. Where a test gives no --max-restarts there's no restart in the
// budget, so that a change of membership which spent one would end the job.

t.test('MN-09 MN-18 MN-66 R-040 a failure restarts all nodes, and is paid for once', async t => {
  const cluster = await startCluster(t, 2);
  const [one, two] = cluster.nodes;
  const agents = cluster.nodes
    .slice(0, 2)
    .map(node => cluster.join(node, { nnodes: '2', options: ['--max-restarts=2'] }));
  const workers = [];

  for (const [round, fails] of [two, one].entries()) {
    workers.push(...(await allStarted(agents, round)));
    fails.tell('exit 3');
  }
  workers.push(...(await allStarted(agents, 2)));
  t.strictSame(
    workers.map(({ rank, restartCount }) => [rank, restartCount]),
    [0, 1, 2].flatMap(count => [
      [0, count],
      [1, count],
    ]),
  );

  two.tell('exit 7');
  t.strictSame(await codes(agents), [1, 1]);
  t.ok(await gone(workers.map(({ pid }) => pid)));
  for (const agent of agents) {
    const report = agent.output();
    t.match(report, /Root Cause[\s\S]*rank +: 1 [\s\S]*exitcode +: 7/, agent.node.name);
    t.match(report, /node2/, agent.node.name);
  }
});

t.test(
  'MN-01 MN-27 R-040 R-044 an agent that is killed leaves no worker, and others go on',
  async t => {
    const cluster = await startCluster(t, 2);
    const [one, two] = cluster.nodes;
    const survives = cluster.join(one, { nnodes: '1:2' });
    const dies = cluster.join(two, { nnodes: '1:2' });
    const [, orphan] = await allStarted([survives, dies], 0);

    dies.kill('SIGKILL');

    const next = await survives.started(1);
    t.match(next, { world: 1, rank: 0 });
    t.equal(next.restartCount, 1, 'a round more; with 0 restarts none was spent');
    t.ok(await gone([orphan?.pid ?? 0]));
    succeed([one]);
    t.strictSame(await codes([survives]), [0]);
  },
);

t.test(
  'MN-02 MN-07 an agent that comes back at once is another one, and the round a new one',
  async t => {
    const cluster = await startCluster(t, 2);
    const [one, two] = cluster.nodes;
    const stays = cluster.join(one, { nnodes: '2' });
    const before = cluster.join(two, { nnodes: '2' });
    await allStarted([stays, before], 0);

    const after = await two.restart(before);

    t.match(await allStarted([stays, after], 1), [
      { world: 2, rank: 0 },
      { world: 2, rank: 1 },
    ]);
    succeed([one, two]);
    t.strictSame(await codes([stays, after]), [0, 0]);
  },
);

t.test('MN-04 R-048 whoever leads or has rank 0 may die: each agent in turn', async t => {
  const cluster = await startCluster(t, 3);
  const { endpoint } = await cluster.serve();
  const agents = cluster.nodes.map(node => cluster.join(node, { nnodes: '2:3', endpoint }));
  let workers = await allStarted(agents);

  for (const [i, node] of cluster.nodes.entries()) {
    const dies = agents[i];
    if (dies === undefined) throw new Error('one for each node');
    dies.kill('SIGKILL');
    const others = agents.filter(agent => agent !== dies);
    workers = await allStarted(others);
    t.strictSame(workers.map(({ rank }) => rank).sort(), [0, 1]);
    for (const worker of workers) {
      const first = workers.find(({ rank }) => rank === 0)?.node;
      const { address } = cluster.nodes.find(({ name }) => name === first) ?? {};
      t.match(worker, { world: 2, masterAddr: address });
    }
    agents[i] = await node.restart(dies);
    workers = await allStarted(agents);
    t.strictSame(workers.map(({ rank }) => rank).sort(), [0, 1, 2]);
  }

  t.equal(new Set(workers.map(({ round }) => round)).size, 1);
  succeed(cluster.nodes);
  t.strictSame(await codes(agents), [0, 0, 0]);
});
