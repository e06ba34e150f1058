import t from 'tap';
import { allStarted, codes, startCluster, succeed } from './harness.js';

// What people are told of a node that waits for others.

t.test('MN-06 each node says for whom it waits, and that it starts', async t => {
  const cluster = await startCluster(t, 3);
  const [one, two, three] = cluster.nodes;
  const host = cluster.join(one, { nnodes: '3' });
  await host.line(
    /^regroup: waiting for nodes: 1 of 3 is here \(node1 \(\S+\)\), at \S+:\d+, up to 10 min/,
  );

  const second = cluster.join(two, { nnodes: '3' });

  await host.line(/^regroup: waiting for nodes: 2 of 3 are here \(node1 \(\S+\), node2 \(\S+\)\)/);
  await second.line(
    /^regroup: waiting for nodes: 2 of 3 are here \(node1 \(\S+\), node2 \(\S+\)\)/,
  );
  const agents = [host, second, cluster.join(three, { nnodes: '3' })];
  await allStarted(agents, 0);
  await host.line(/^regroup: round 0 starts with 3 nodes; this one has group rank 0/);
  succeed(cluster.nodes);
  t.strictSame(await codes(agents), [0, 0, 0]);
});

t.test('MN-74 a node whose endpoint nobody serves yet says so, and waits for minutes', async t => {
  const cluster = await startCluster(t, 2);
  const [one, two] = cluster.nodes;
  const early = cluster.join(two, { nnodes: '2' });

  await early.line(/^regroup: waiting for \S+:\d+, where nobody answers; up to 10 min/);

  const agents = [cluster.join(one, { nnodes: '2' }), early];
  await allStarted(agents, 0);
  succeed([one, two]);
  t.strictSame(await codes(agents), [0, 0]);
});

t.test('MN-29 a node too many says so, and when it takes over a vacancy', async t => {
  const cluster = await startCluster(t, 3);
  const { endpoint } = await cluster.serve();
  const meeting = { nnodes: '2', endpoint };
  const [one, two, three] = cluster.nodes;
  const first = cluster.join(one, meeting);
  const second = cluster.join(two, meeting);
  await allStarted([first, second], 0);

  const spare = cluster.join(three, meeting);
  await spare.line(/^regroup: the round is full: waiting for a place among its 2 nodes$/);
  second.kill('SIGTERM');

  await allStarted([first, spare], 1);
  await spare.line(/^regroup: round 1 starts with 2 nodes; this one has group rank 1$/);
  succeed([one, three]);
  t.strictSame(await codes([first, spare]), [0, 0]);
});

t.test('MN-31 R-042 a node too many ends with the job', async t => {
  const cluster = await startCluster(t, 3);
  const agents = cluster.nodes.slice(0, 2).map(node => cluster.join(node, { nnodes: '2' }));
  await allStarted(agents, 0);
  const spare = cluster.join(cluster.nodes[2], { nnodes: '2' });
  await spare.line(/waiting for a place/);

  succeed(cluster.nodes.slice(0, 2));

  t.strictSame(await codes([...agents, spare]), [0, 0, 0]);
  t.match(
    spare.output(),
    /^regroup: the job has succeeded while this node waited for a place in it; exit code 0$/m,
  );
  for (const agent of agents) t.notMatch(agent.output(), /the job has succeeded/);
});

t.test('MN-29 a node that is one too many even for a spare is told so, and gives up', async t => {
  const cluster = await startCluster(t, 3);
  const meeting = { nnodes: '2', options: ['--spares=0', '--rdzv-conf=join_timeout=6'] };
  const agents = cluster.nodes.slice(0, 2).map(node => cluster.join(node, meeting));
  await allStarted(agents, 0);

  const third = cluster.join(cluster.nodes[2], meeting);

  await third.line(
    /^regroup: the job is full: it has 2 nodes and 0 spares \(--spares\); waiting for one of them to go, up to 6.0 s$/,
  );
  t.equal((await third.end()).code, 1);
  succeed(cluster.nodes.slice(0, 2));
  t.strictSame(await codes(agents), [0, 0], 'nobody else is disturbed');
});
