import t from 'tap';
import { gone, isAlive } from '../../harness.js';
import { type Agent, allStarted, codes, gathered, startCluster, succeed } from '../harness.js';

// Nodes that come, go and come again while a job runs.

/** Longer than a test takes: what ends such a wait is something else. */
const never = '10m';

/** Workers that an agent has started. */
const startedBy = (agent: Agent): number => agent.output().match(/^started /gm)?.length ?? 0;

t.test('MN-45 nodes that come one after the other cost one round', async t => {
  const cluster = await startCluster(t, 4);
  const { endpoint } = await cluster.serve();
  const options = ['--rdzv-conf=last_call_timeout=1', `--grow-debounce=${never}`];
  const agents: Agent[] = [];
  for (const [i, node] of cluster.nodes.entries()) {
    const agent = cluster.join(node, { nnodes: '2:4', endpoint, options });
    agents.push(agent);
    if (i === 1) await allStarted(agents, 0);
    // It has been seen by the others, and nobody has moved for it.
    if (i === 2) await agent.line(/waiting for round 0, which has 2 of 4 nodes, to end/);
  }

  for (const { world } of await allStarted(agents, 1)) t.equal(world, 4);

  succeed(cluster.nodes);
  t.strictSame(await codes(agents), [0, 0, 0, 0]);
  t.strictSame(agents.map(startedBy), [2, 2, 1, 1]);
});

t.test('MN-15 too few that are left have no worker, and begin anew with a newcomer', async t => {
  const cluster = await startCluster(t, 3);
  const { endpoint } = await cluster.serve();
  const meeting = { nnodes: '2:3', endpoint, options: ['--rdzv-conf=last_call_timeout=1'] };
  const [one, two, three] = cluster.nodes;
  const [stays, leaves] = [cluster.join(one, meeting), cluster.join(two, meeting)];
  const before = await allStarted([stays, leaves], 0);

  leaves.kill('SIGTERM');
  t.match(await leaves.end(), { code: 1 });
  await stays.line(/waiting for nodes: 1 of 2 is here \(node1 \(\S+\)\)/);
  t.ok(await gone(before.map(({ pid }) => pid)));
  t.equal(startedBy(stays), 1);
  const comes = cluster.join(three, meeting);

  t.match(await gathered([stays, comes], 2), [{ round: 1 }, { round: 1 }]);
  succeed([one, three]);
  t.strictSame(await codes([stays, comes]), [0, 0]);
});

t.test(
  'MN-02 R-023 L-107 one that nobody joins any more says so, has no worker, and ends',
  async t => {
    const cluster = await startCluster(t, 2);
    const meeting = { nnodes: '2', options: ['--rdzv-conf=join_timeout=5'] };
    const [one, two] = cluster.nodes;
    const [stays, dies] = [cluster.join(one, meeting), cluster.join(two, meeting)];
    const before = await allStarted([stays, dies], 0);

    dies.kill('SIGKILL');

    await stays.line(/round 0 is over: node2 \(\S+\) was lost/);
    await stays.line(/waiting for nodes: 1 of 2 is here \(node1 \(\S+\)\).* up to 5/);
    t.ok(await gone(before.map(({ pid }) => pid)), 'while it waits');
    const { code, stderr } = await stays.end();
    t.equal(code, 1);
    t.match(stderr, /2 nodes are needed, and 1 \(node1 \(\S+\)\) came in 5 s/);
    t.equal(startedBy(stays), 1);
  },
);

t.test('MN-27 one that is killed while its workers save leaves none, and others go on', async t => {
  const cluster = await startCluster(t, 2);
  const [one, two] = cluster.nodes;
  const meeting = { nnodes: '1:2', options: ['--grace', `signal=${never}`] };
  const [stays, dies] = [cluster.join(one, meeting), cluster.join(two, meeting)];
  const [, saves] = await gathered([stays, dies], 2);
  two.tell('deaf');
  await dies.line(/^deaf$/);

  dies.kill('SIGTERM');
  await dies.line(/waiting up to .* for the workers to end/);
  t.ok(isAlive(saves?.pid ?? 0));
  dies.kill('SIGKILL');

  t.ok(await gone([saves?.pid ?? 0]));
  t.match(await stays.started(), { world: 1, rank: 0 });
  succeed([one]);
  t.strictSame(await codes([stays]), [0]);
});

t.test('MN-78 who ends for a newcomer has time, and who ends for a failure less', async t => {
  const cluster = await startCluster(t, 3);
  const [one, two, three] = cluster.nodes;
  const graces = ['--grace', `membership=${never},failure=500ms`];
  const options = [...graces, '--max-restarts=1', '--grow-debounce=0'];
  const meeting = { nnodes: '2:3', options: [...options, '--rdzv-conf=last_call_timeout=1'] };
  const old = [cluster.join(one, meeting), cluster.join(two, meeting)];
  const [first] = old as [Agent, Agent];
  const before = await allStarted(old, 0);
  for (const [i, agent] of old.entries()) {
    cluster.nodes[i]?.tell('save');
    await agent.line(/^save$/);
  }

  const late = cluster.join(three, meeting);
  for (const agent of old) await agent.line(/^told$/);
  for (const { pid } of before) t.ok(isAlive(pid));
  for (const node of [one, two]) node.tell('say saved');
  for (const agent of old) await agent.line(/^said saved$/);

  const all = [...old, late];
  t.match(await allStarted(all, 1), [{ world: 3 }, { world: 3 }, { world: 3 }]);
  for (const { output } of old) t.notMatch(output(), /forcefully exiting/);
  one.tell('save');
  await first.line(/^save$/);
  two.tell('exit 3');

  await first.line(/^told$/);
  await first.line(/Unable to shutdown process \d+ via 15, forcefully exiting via 9/);
  await allStarted(all, 2);
  succeed(cluster.nodes);
  t.strictSame(await codes(all), [0, 0, 0]);
});
