import t from 'tap';
import { gone, isAlive } from '../harness.js';
import { allStarted, codes, noLinks, startCluster, succeed } from './harness.js';

// Nobody says a word: links that lose everything, servers and agents that stand still.

const meeting = { nnodes: '1:2', options: ['--lease=2s'] };

for (const way of ['both', 'out', 'in'] as const) {
  t.test(
    `MN-01 MN-12 R-044 R-047 a node that is cut off (${way}) has no worker any more when the others go on`,
    { skip: noLinks ?? false },
    async t => {
      const cluster = await startCluster(t, 2);
      const [one, two] = cluster.nodes;
      const [stays, lost] = [cluster.join(one, meeting), cluster.join(two, meeting)];
      const [, cutOff] = await allStarted([stays, lost], 0);

      two.cut(way);

      t.match(await stays.started(1), { world: 1 });
      t.notOk(isAlive(cutOff?.pid ?? 0), 'the fence has come before');
      two.heal();
      t.match(await allStarted([stays, lost], 2), [
        { world: 2, rank: 0 },
        { world: 2, rank: 1 },
      ]);
      succeed(cluster.nodes.slice(0, 2));
      t.strictSame(await codes([stays, lost]), [0, 0]);
    },
  );
}

t.test('MN-12 R-047 a server that stands still ends the round everywhere, not the job', async t => {
  const cluster = await startCluster(t, 2);
  const { endpoint, server } = await cluster.serve();
  const agents = cluster.nodes
    .slice(0, 2)
    .map(node => cluster.join(node, { ...meeting, nnodes: '2', endpoint }));
  const before = await allStarted(agents, 0);

  server.pause();
  t.ok(await gone(before.map(({ pid }) => pid)));
  server.resume();

  const after = await allStarted(agents);
  t.match(after, [{ world: 2 }, { world: 2 }]);
  t.equal(after[0]?.round, after[1]?.round);
  succeed(cluster.nodes.slice(0, 2));
  t.strictSame(await codes(agents), [0, 0]);
});

t.test('R-047 an agent that stands still has no worker any more when the others go on', async t => {
  const cluster = await startCluster(t, 2);
  const [one, two] = cluster.nodes;
  const [stays, frozen] = [cluster.join(one, meeting), cluster.join(two, meeting)];
  const [, held] = await allStarted([stays, frozen], 0);

  frozen.pause();

  t.match(await stays.started(1), { world: 1 });
  t.notOk(isAlive(held?.pid ?? 0), "its guardian's fence has come before");
  frozen.resume();
  t.match(await allStarted([stays, frozen], 2), [{ world: 2 }, { world: 2 }]);
  succeed(cluster.nodes.slice(0, 2));
  t.strictSame(await codes([stays, frozen]), [0, 0]);
});

t.test(
  'R-044 a node that was cut off beyond the end of its job learns how it ended',
  { skip: noLinks ?? false },
  async t => {
    const cluster = await startCluster(t, 2);
    const { endpoint } = await cluster.serve();
    const [one, two] = cluster.nodes;
    const agents = [one, two].map(node => cluster.join(node, { ...meeting, endpoint }));
    const [stays, lost] = agents as [(typeof agents)[0], (typeof agents)[0]];
    await allStarted(agents, 0);
    two.cut();
    await stays.started(1);
    succeed([one]);
    t.strictSame(await codes([stays]), [0]);

    two.heal();

    t.strictSame(await codes([lost]), [0]);
    t.match(lost.output(), /^regroup: the job has succeeded while this node waited/m);
    t.equal(lost.output().match(/^started /gm)?.length, 1, 'it has begun nothing of its own');
  },
);

t.test(
  'R-044 R-047 a node that comes back to an empty server begins no job of its own',
  { skip: noLinks ?? false },
  async t => {
    const cluster = await startCluster(t, 2);
    const { endpoint, server } = await cluster.serve();
    const [one, two] = cluster.nodes;
    const options = [...meeting.options, '--rdzv-conf=join_timeout=12'];
    const agents = [one, two].map(node => cluster.join(node, { ...meeting, options, endpoint }));
    const [stays, lost] = agents as [(typeof agents)[0], (typeof agents)[0]];
    const [, { pid } = { pid: 0 }] = await allStarted(agents, 0);
    two.cut();
    await stays.started(1);
    t.ok(await gone([pid]));
    // From here on it doesn't hear what the old server has sent, which reaches it in the end, were it killed meanwhile.
    await lost.line(/this node has not reached the others in time/);
    succeed([one]);
    t.strictSame(await codes([stays]), [0]);
    await cluster.hub.restart(server);

    two.heal();

    t.strictSame(await codes([lost]), [1]);
    t.match(lost.output(), /what the nodes meet at has been started anew since, and no other node/);
    t.equal(lost.output().match(/^started /gm)?.length, 1);
  },
);
