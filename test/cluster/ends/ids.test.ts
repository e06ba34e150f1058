import t from 'tap';
import { type Agent, allStarted, codes, gathered, startCluster, succeed } from '../harness.js';

// Jobs at one server: the next one of a name, and several at a time.

t.test(
  'MN-35 R-041 L-069 the id of a job may be used again, however the one before has ended',
  async t => {
    const cluster = await startCluster(t, 2);
    const { endpoint } = await cluster.serve();
    const nodes = cluster.nodes.slice(0, 2);
    const begin = async (): Promise<Agent[]> => {
      const agents = nodes.map(node => cluster.join(node, { nnodes: '2', endpoint }));
      t.match(await allStarted(agents, 0), [{ world: 2 }, { world: 2 }]);
      return agents;
    };

    const first = await begin();
    succeed(nodes);
    t.strictSame(await codes(first), [0, 0]);

    const second = await begin();
    nodes[1]?.tell('exit 3');
    t.strictSame(await codes(second), [1, 1]);

    const third = await begin();
    for (const agent of third) agent.kill('SIGKILL');
    await codes(third);

    const agents = nodes.map(node => cluster.join(node, { nnodes: '2', endpoint }));
    const workers = await allStarted(agents);
    t.match(workers, [{ world: 2 }, { world: 2 }]);
    t.equal(workers[0]?.round, workers[1]?.round);
    succeed(nodes);
    t.strictSame(await codes(agents), [0, 0]);
  },
);

t.test('R-030 MN-34 jobs with ids of their own never meet', async t => {
  const cluster = await startCluster(t, 2);
  const { endpoint } = await cluster.serve();
  const nodes = cluster.nodes.slice(0, 2);
  const say = 'echo "job $TORCHELASTIC_RUN_ID: rank $RANK of $WORLD_SIZE"; exec sleep 1000';
  const worker = ['--no-python', 'sh', '-c', say];
  const [a, b] = ['a', 'a/b'].map(id =>
    nodes.map(node => cluster.join(node, { nnodes: '2', endpoint, id, worker })),
  ) as [Agent[], Agent[]];

  for (const agents of [a, b]) {
    const said = await Promise.all(agents.map(agent => agent.line(/^job /)));
    t.strictSame(said.map(text => text.split(': ')[1]).sort(), ['rank 0 of 2', 'rank 1 of 2']);
  }
  for (const agent of a) agent.kill('SIGTERM');
  t.strictSame(await codes(a), [1, 1]);

  for (const agent of b) t.notMatch(agent.output(), /round 0 is over/);
  for (const agent of b) agent.kill('SIGTERM');
  t.strictSame(await codes(b), [1, 1]);
});

t.test('MN-34 of two jobs without an id of their own no world has nodes of both', async t => {
  const cluster = await startCluster(t, 3);
  const { endpoint } = await cluster.serve();
  const [one, two, three] = cluster.nodes;
  const join = (node: typeof one, nnodes: string, more: readonly string[] = []): Agent => {
    const options = ['--spares=0', ...more];
    return cluster.join(node, { nnodes, endpoint, id: 'none', options });
  };
  const first = [join(one, '2'), join(two, '2')];
  t.match(await allStarted(first, 0), [{ world: 2 }, { world: 2 }]);

  for (const [nnodes, why] of [
    ['1:2', /the job was started with --nnodes 2 --spares 0, and this node with --nnodes 1:2/],
    ['2', /the job has had its 2 nodes and 0 spares for 3 s, and this node is one too many/],
  ] as const) {
    const { code, stderr, stdout } = await join(three, nnodes, [
      '--rdzv-conf=join_timeout=3',
    ]).end();

    t.equal(code, 1);
    t.match(stderr, why);
    t.notMatch(stdout, /^started /m);
  }
  succeed([one, two]);
  t.strictSame(await codes(first), [0, 0]);
});

for (const [signal, how] of [
  ['SIGTERM', 'ends'],
  ['SIGKILL', 'is killed'],
] as const) {
  t.test(`MN-36 a job whose server is another one's goes on when that ${how}`, async t => {
    const cluster = await startCluster(t, 2);
    const nodes = cluster.nodes.slice(0, 2);
    const worker = ['--no-python', 'sh', '-c', 'echo up; exec sleep 1000'];
    const others = nodes.map(node => cluster.join(node, { nnodes: '2', id: 'other', worker }));
    for (const agent of others) await agent.line(/^up$/);
    const options = ['--lease=2s', '--max-restarts=1'];
    const agents = nodes.map(node => cluster.join(node, { nnodes: '2', options }));
    await allStarted(agents, 0);

    for (const agent of others) agent.kill(signal);
    await codes(others);
    nodes[1]?.tell('exit 3');

    t.match(await gathered(agents, 2), [{ rank: 0 }, { rank: 1 }]);
    succeed(nodes);
    t.strictSame(await codes(agents), [0, 0]);
  });
}
