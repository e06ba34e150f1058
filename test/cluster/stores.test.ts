import { spawnSync } from 'node:child_process';
import t from 'tap';
import { torchOrSkip } from '../interop/torch.js';
import {
  allStarted,
  type ClusterNode,
  codes,
  glooWorker,
  noLinks,
  reach,
  startCluster,
  succeed,
} from './harness.js';

// The workers' store: where it is, and what a node is told that can't reach it.

const ranked = (nodeRank: number) => ['--rdzv-backend=static', `--node-rank=${nodeRank}`];

t.test('L-049 the store of a static job is at the master port, in each round', async t => {
  const cluster = await startCluster(t, 2);
  const [one, two] = cluster.nodes;
  const agents = [one, two].map((node, rank) =>
    cluster.join(node, { nnodes: '2', options: [...ranked(rank), '--max-restarts=1'] }),
  );
  const workers = await allStarted(agents, 0);
  await reach([one, two], agents);

  two.tell('exit 3');

  workers.push(...(await allStarted(agents, 1)));
  for (const { masterAddr, masterPort } of workers)
    t.equal(`${masterAddr}:${masterPort}`, cluster.endpoint);
  await reach([one, two], agents);
  succeed([one, two]);
  t.strictSame(await codes(agents), [0, 0]);
});

t.test('L-049 where somebody else has the server, a static job has a port of its own', async t => {
  const cluster = await startCluster(t, 2);
  const [one, two] = cluster.nodes;
  const { endpoint } = await cluster.serve();
  const agents = [one, two].map((node, rank) =>
    cluster.join(node, {
      nnodes: '2',
      endpoint,
      options: ranked(rank),
    }),
  );

  for (const { masterAddr } of await allStarted(agents, 0)) t.equal(masterAddr, one.address);

  await reach([one, two], agents);
  succeed([one, two]);
  t.strictSame(await codes(agents), [0, 0]);
});

t.test('T-091 T-095 L-049 collectives of a static job run in each round, at one port', async t => {
  const torch = torchOrSkip(t, 'newest');
  if (!torch) return;
  const cluster = await startCluster(t, 2);
  const [one, two] = cluster.nodes;
  const agents = [one, two].map((node, rank) =>
    cluster.join(node, {
      nnodes: '2',
      options: [...ranked(rank), '--max-restarts=2'],
      env: { PYTHON_EXEC: torch.python },
      worker: glooWorker,
    }),
  );

  for (const [round, victim] of [two, one].entries()) {
    for (const { masterAddr, masterPort } of await allStarted(agents, round))
      t.equal(`${masterAddr}:${masterPort}`, cluster.endpoint);
    await Promise.all(agents.map(agent => agent.line(/^step 11$/)));
    victim.tell('raise');
  }

  await allStarted(agents, 2);
  await Promise.all(agents.map(agent => agent.line(/^step 11$/)));
  two.tell('done');
  t.strictSame(await codes(agents), [0, 0]);
});

/** A rule of a node's routing, by which packets with some ports are refused or lost. */
function rule(node: ClusterNode, words: string): void {
  const [program = '', ...args] = [...node.under, 'ip', 'rule', 'add', ...words.split(' ')];
  const done = spawnSync(program, args, { encoding: 'utf8' });
  if (done.status !== 0) throw new Error(`ip rule add ${words}: ${done.error ?? done.stderr}`);
}

for (const [what, block, reason] of [
  [
    'refused',
    (_: ClusterNode, two: ClusterNode, ports: string) =>
      rule(two, `ipproto tcp dport ${ports} prohibit`),
    'EACCES',
  ],
  [
    'lost',
    (one: ClusterNode, two: ClusterNode, ports: string) =>
      rule(one, `to ${two.address} ipproto tcp sport ${ports} blackhole`),
    'it does not answer',
  ],
] as const) {
  t.test(
    `MN-56 a node whose way to the workers' store is ${what} says so, and goes on`,
    { skip: noLinks ?? false },
    async t => {
      const cluster = await startCluster(t, 2);
      const [one, two] = cluster.nodes;
      const ports = '31000-31009';
      block(one, two, ports);
      const options = [`--port-range=${ports}`];
      const agents = [one, two].map(node => cluster.join(node, { nnodes: '2', options }));
      await allStarted(agents, 0);

      const line = await agents[1]?.line(/can't reach/);

      t.match(
        line,
        `node2 (10.77.0.2) can't reach the store of round 0's workers, 10.77.0.1:31000 on node1 (10.77.0.1), tried for 5.0 s: ${reason}. `,
      );
      succeed([one, two]);
      t.strictSame(await codes(agents), [0, 0]);
      t.notMatch(agents[0]?.output(), /can't reach/);
    },
  );
}

t.test(
  'MN-56 nodes whose ports for workers are closed to each other say so, and go on',
  { skip: noLinks ?? false },
  async t => {
    const cluster = await startCluster(t, 2);
    const [one, two] = cluster.nodes;
    const chosen = '32768-60999';
    const between = `ipproto tcp sport ${chosen} dport ${chosen}`;
    rule(one, `to ${two.address} ${between} prohibit`);
    const agents = [one, two].map((node, rank) =>
      cluster.join(node, { nnodes: '2', options: ranked(rank) }),
    );
    await allStarted(agents, 0);

    const lines = await Promise.all(agents.map(agent => agent.line(/can't connect/)));

    t.match(
      lines[0],
      /node1 \(10\.77\.0\.1\) can't connect to 10\.77\.0\.2:\d+ on node2 \(10\.77\.0\.2\), tried for 5\.0 s: EACCES\. /,
    );
    t.match(
      lines[1],
      /node2 \(10\.77\.0\.2\) can't connect to 10\.77\.0\.1:\d+ on node1 .*: it does not answer\. /,
    );
    succeed([one, two]);
    t.strictSame(await codes(agents), [0, 0]);
  },
);
