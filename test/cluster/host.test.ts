import t from 'tap';
import { allStarted, codes, startCluster, succeed } from './harness.js';

// The process that the nodes meet at dies, and another one takes its place, which knows nothing.

t.test('MN-03 an agent that serves the others and comes back costs one round', async t => {
  const cluster = await startCluster(t, 2);
  const [one, two] = cluster.nodes;
  const host = cluster.join(one, { nnodes: '2' });
  const other = cluster.join(two, { nnodes: '2' });
  await allStarted([host, other], 0);

  const back = await one.restart(host);

  t.match(await allStarted([back, other], 1), [{ world: 2 }, { world: 2 }]);
  succeed([one, two]);
  t.strictSame(await codes([back, other]), [0, 0]);
});

t.test('MN-S2 a server outside of the nodes that comes back at once ends no job', async t => {
  const cluster = await startCluster(t, 2);
  const { endpoint, server } = await cluster.serve();
  const [one, two] = cluster.nodes;
  const agents = [one, two].map(node => cluster.join(node, { nnodes: '2', endpoint }));
  await allStarted(agents, 0);

  const again = await cluster.hub.restart(server);
  await again.line(/^ready /);

  t.match(await allStarted(agents, 1), [{ world: 2 }, { world: 2 }]);
  succeed([one, two]);
  t.strictSame(await codes(agents), [0, 0]);
});
