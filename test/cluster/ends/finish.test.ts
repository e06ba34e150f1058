import t from 'tap';
import { isAlive } from '../../harness.js';
import { type Agent, allStarted, codes, startCluster, succeed } from '../harness.js';
import { spyOn } from '../wire/spy.js';

// Nodes of a job whose workers end at different times.

t.test('MN-59 MN-60 L-066 who has the server stays until the last one has ended', async t => {
  const cluster = await startCluster(t, 2);
  const [one, two] = cluster.nodes;
  const agents = [one, two].map(node => cluster.join(node, { nnodes: '2' }));
  const [host, other] = agents as [Agent, Agent];
  await allStarted(agents, 0);

  succeed([one]);
  two.tell('say on');
  t.equal(await other.line(/^said/), 'said on');
  two.tell('reach');
  await other.line(/^reached/);
  t.ok(isAlive(host.pid), 'rank 0 has ended, and its store is there');
  succeed([two]);

  t.strictSame(await codes(agents), [0, 0]);
});

t.test('MN-14 one whose workers have ended may be told to go, and disturbs nobody', async t => {
  const cluster = await startCluster(t, 3);
  const { endpoint } = await cluster.serve();
  const agents = cluster.nodes.map(node => cluster.join(node, { nnodes: '3', endpoint }));
  const [one, two, three] = cluster.nodes;
  const [first, second, third] = agents as [Agent, Agent, Agent];
  const workers = await allStarted(agents, 0);

  const spy = spyOn(cluster, endpoint);
  succeed([three]);
  await spy.line(/^put \S*\/done\/0\/node3/);
  third.kill('SIGTERM');
  await third.end();
  for (const [agent, node] of [
    [first, one],
    [second, two],
  ] as const) {
    node.tell('say on');
    await agent.line(/^said on/);
  }
  for (const { pid } of workers.slice(0, 2)) t.ok(isAlive(pid));
  succeed([one, two]);

  t.strictSame(await codes([first, second]), [0, 0]);
});

t.test('L-125 one that has ended and loses its peer to a signal ends with 0, too', async t => {
  const cluster = await startCluster(t, 2);
  const [one, two] = cluster.nodes;
  const agents = [one, two].map(node => cluster.join(node, { nnodes: '1:2' }));
  const [stays, leaves] = agents as [Agent, Agent];
  await allStarted(agents, 0);
  const spy = spyOn(cluster, cluster.endpoint);

  succeed([one]);
  await spy.line(/^put \S*\/done\/0\/node1/);
  leaves.kill('SIGTERM');
  t.match(await leaves.end(), { code: 1 });
  t.match(await stays.started(), { world: 1 });
  succeed([one]);

  t.strictSame(await codes([stays]), [0]);
});

t.test(
  'MN-24 MN-76 one that waits for another that has ended is told of, and not killed',
  async t => {
    const cluster = await startCluster(t, 2);
    const [one, two] = cluster.nodes;
    const options = ['--hang-silence=1s', '--on-hang=notify'];
    const agents = [one, two].map(node => cluster.join(node, { nnodes: '2', options }));
    const [waits, done] = agents as [Agent, Agent];
    await allStarted(agents, 0);

    succeed([two]);
    await done.line(/ended with 0, as those of 1 of 2 nodes have; waiting for node1 \(\S+\)$/);
    await waits.line(/^regroup: worker 0 \(local 0, pid \d+\) has stopped writing/);
    one.tell('say on');
    await waits.line(/^said on/);
    succeed([one]);

    t.strictSame(await codes(agents), [0, 0]);
    t.notMatch(done.output(), /while this node waited/);
  },
);
