import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { version } from '../../lib/coordination/frames.js';
import { gone, isAlive } from '../harness.js';
import { type Agent, allStarted, codes, inTime, startCluster, succeed } from './harness.js';

// The process that the nodes meet at dies, and another one takes its place, which knows nothing; or nobody does.

/** Workers that its agent has started, however many rounds that took. */
const started = (agent: Agent): number => agent.output().match(/^started /gm)?.length ?? 0;

/** What an agent says whose server has ended. */
const goneOf = (endpoint: string): RegExp =>
  new RegExp(`^regroup: nobody listens at ${endpoint} any more: .*; workers run on, up to 10 min`);

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

t.test('MN-S2 R-051 a server outside of the nodes that comes back costs no round', async t => {
  const cluster = await startCluster(t, 2);
  const { endpoint, server } = await cluster.serve();
  const nodes = cluster.nodes.slice(0, 2);
  // Longer than a new server takes to answer, on whatever machine.
  const options = ['--lease=15s'];
  const agents = nodes.map(node => cluster.join(node, { nnodes: '2', endpoint, options }));
  const before = await allStarted(agents, 0);

  server.kill('SIGKILL');
  await server.end();
  for (const agent of agents) await agent.line(goneOf(endpoint));
  await sleep(17_000); // longer than a lease
  for (const { pid } of before) t.ok(isAlive(pid), 'refusals have kept its fence away');
  let now = server;
  for (let times = 0; times < 3; times++) {
    if (times > 0) {
      // An agent that finds the next one at once has nothing to say of it.
      now.kill('SIGKILL');
      await now.end();
      for (const agent of agents) await agent.line(goneOf(endpoint));
    }
    now = await cluster.hub.restart(now);
    await now.line(/^ready /);
    for (const agent of agents) await agent.line(/^regroup: \S+ answers again$/);
  }

  succeed(nodes);
  t.strictSame(await codes(agents), [0, 0]);
  t.strictSame(agents.map(started), [1, 1], 'in the one round that there was');
});

/** What an agent says whose fence has passed. */
const fenced = /^regroup: this node has not reached the others in time: its workers are killed/;

/** Two nodes whose server has died, and in whose place another one has come that gets no further than its welcome. */
async function welcomedOnly(t: Test) {
  const cluster = await startCluster(t, 2);
  const { endpoint, server } = await cluster.serve();
  const nodes = cluster.nodes.slice(0, 2);
  const agents = nodes.map(node =>
    cluster.join(node, { nnodes: '2', endpoint, options: ['--lease=15s'] }),
  );
  const before = await allStarted(agents, 0);
  server.kill('SIGKILL');
  await server.end();
  for (const agent of agents) await agent.line(goneOf(endpoint));
  const welcomes = resolve('test/fixtures/welcomes.py');
  const next = cluster.hub.run(['python3', welcomes, ...endpoint.split(':'), `${version}`]);
  for (const agent of agents) await agent.line(/^regroup: \S+ answers again$/);
  return { cluster, endpoint, nodes, agents, before, server, next };
}

t.test(
  'MN-S2 R-051 a server that dies before anybody has a lease of it costs no round',
  async t => {
    const { cluster, endpoint, nodes, agents, before, server, next } = await welcomedOnly(t);

    next.kill('SIGKILL');
    await next.end();
    for (const agent of agents) await agent.line(goneOf(endpoint));
    await sleep(17_000); // longer than a lease

    for (const { pid } of before) t.ok(isAlive(pid), 'refusals have kept its fence away');
    const last = await cluster.hub.restart(server);
    await last.line(/^ready /);
    for (const agent of agents) await agent.line(/^regroup: \S+ answers again$/);
    succeed(nodes);
    t.strictSame(await codes(agents), [0, 0]);
    t.strictSame(agents.map(started), [1, 1], 'in the one round that there was');
  },
);

t.test('R-047 R-051 a server that comes back and says nothing keeps no fence away', async t => {
  const { cluster, nodes, agents, before, server, next } = await welcomedOnly(t);

  for (const agent of agents) await agent.line(fenced);
  await inTime(gone(before.map(({ pid }) => pid)), 60_000, 'workers are not killed');

  next.kill('SIGKILL');
  await next.end();
  await cluster.hub.restart(server);
  t.match(await allStarted(agents), [{ world: 2 }, { world: 2 }]);
  succeed(nodes);
  t.strictSame(await codes(agents), [0, 0]);
});

t.test('MN-03 a server that never comes back ends all nodes with one sentence', async t => {
  const cluster = await startCluster(t, 2);
  const { endpoint, server } = await cluster.serve();
  const options = ['--rdzv-conf=join_timeout=8'];
  const agents = cluster.nodes
    .slice(0, 2)
    .map(node => cluster.join(node, { nnodes: '2', endpoint, options }));
  await allStarted(agents, 0);

  server.kill('SIGKILL');

  const ended = await codes(agents);
  t.equal(ended[0], ended[1]);
  t.not(ended[0], 0);
  for (const agent of agents) {
    t.equal(started(agent), 1);
    t.match(agent.output(), /the server of the rendezvous could not be reached for 8 s/);
  }
});
