import t from 'tap';
import { gone } from '../../harness.js';
import { allStarted, codes, noLinks, reach, startCluster } from '../harness.js';

// What has failed, seen from all nodes, and how much of the budget it costs.

t.test('MN-20 MN-22 two failures at once on two nodes are one incident', async t => {
  const cluster = await startCluster(t, 2);
  const [one, two] = cluster.nodes;
  const agents = [one, two].map(node =>
    cluster.join(node, { nnodes: '2', options: ['--max-restarts=1'] }),
  );
  await allStarted(agents, 0);

  one.tell('exit 3');
  two.tell('kill');
  t.match(await allStarted(agents, 1), [{ restartCount: 1 }, { restartCount: 1 }]);
  two.tell('kill');

  t.strictSame(await codes(agents), [1, 1]);
  for (const agent of agents)
    t.match(agent.output(), /the job failed: worker 1 \(local 0\).* was killed by SIGKILL/);
});

t.test('MN-23 L-067 one that does not hear SIGTERM is ended when its grace is over', async t => {
  const cluster = await startCluster(t, 2);
  const [one, two] = cluster.nodes;
  const options = ['--grace', 'failure=0.3'];
  const agents = [one, two].map(node => cluster.join(node, { nnodes: '2', options }));
  const [deaf] = await allStarted(agents, 0);
  one.tell('deaf');
  await agents[0]?.line(/^deaf$/);

  two.tell('exit 3');

  t.strictSame(await codes(agents), [1, 1]);
  t.ok(await gone([deaf?.pid ?? 0]));
});

t.test(
  'L-049 L-054 L-116 MN-18 R-043 static: ranks as given, and a failure restarts all',
  async t => {
    const cluster = await startCluster(t, 2);
    const [one, two] = cluster.nodes;
    const options = ['--rdzv-backend=static', '--max-restarts=1'];
    const agents = [two, one].map(node =>
      cluster.join(node, {
        nnodes: '2',
        // By their names it would be the other way round.
        options: [...options, `--node-rank=${node === one ? 1 : 0}`],
        endpoint: cluster.endpoint.replace(one.address, two.address),
      }),
    );
    const address = two.address;
    t.match(await allStarted(agents, 0), [
      { node: 'node2', rank: 0, masterAddr: address, restartCount: 0 },
      { node: 'node1', rank: 1, masterAddr: address, restartCount: 0 },
    ]);

    one.tell('exit 3');

    t.match(await allStarted(agents, 1), [
      { node: 'node2', rank: 0, restartCount: 1 },
      { node: 'node1', rank: 1, restartCount: 1 },
    ]);
    await reach([one, two], agents);
    one.tell('exit 4');
    t.strictSame(await codes(agents), [1, 1]);
  },
);

t.test(
  'MN-10 R-028 nodes that have lost the server for ever end, with few words',
  { skip: noLinks ?? false },
  async t => {
    const cluster = await startCluster(t, 2);
    const [one, two] = cluster.nodes;
    const options = ['--lease=2s', '--rdzv-conf=join_timeout=5'];
    const agents = [one, two].map(node => cluster.join(node, { nnodes: '2', options }));
    const workers = await allStarted(agents, 0);

    one.cut();

    t.strictSame(await codes(agents), [1, 1]);
    t.ok(await gone(workers.map(({ pid }) => pid)));
    t.match(agents[1]?.output(), /the server of the rendezvous could not be reached for 5 s/);
    for (const agent of agents) t.ok(agent.output().split('\n').length <= 20, agent.output());
  },
);
