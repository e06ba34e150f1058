import t from 'tap';
import { allStarted, codes, startCluster, succeed } from './harness.js';

// How a job of several nodes ends, and how it doesn't begin.

t.test(
  'MN-14 MN-62 a node that has succeeded waits for the others, and runs again with them',
  async t => {
    const cluster = await startCluster(t, 2);
    const [one, two] = cluster.nodes;
    const agents = [one, two].map(node =>
      cluster.join(node, { nnodes: '2', options: ['--max-restarts=1'] }),
    );
    await allStarted(agents, 0);

    succeed([one]);
    two.tell('exit 5');

    t.match(await allStarted(agents, 1), [{ restartCount: 1 }, { restartCount: 1 }]);
    succeed([one]);
    two.tell('say more');
    t.equal(await agents[1]?.line(/^said/), 'said more');
    succeed([two]);
    t.strictSame(await codes(agents), [0, 0]);
  },
);

t.test(
  'MN-06 R-023 too few nodes: each that came says who came, and how many are missing',
  async t => {
    const cluster = await startCluster(t, 2);
    const options = ['--rdzv-conf=join_timeout=8'];
    const agents = cluster.nodes
      .slice(0, 2)
      .map(node => cluster.join(node, { nnodes: '3', options }));

    for (const agent of agents) {
      const { code, stdout, stderr } = await agent.end();
      t.equal(code, 1);
      t.equal(stdout, '', 'no worker was started');
      t.match(stderr, /3 nodes are needed, and .*came in 8 s; .*join_timeout/);
    }
    t.match(cluster.log(), /2 \(node1 \(\S+\), node2 \(\S+\)\) came/);
  },
);

t.test('MN-47 R-056 a node that was started otherwise is refused, and disturbs nobody', async t => {
  const cluster = await startCluster(t, 3);
  const [one, two, three] = cluster.nodes;
  const agents = [one, two].map(node => cluster.join(node, { nnodes: '2' }));
  await allStarted(agents, 0);

  const other = await cluster.join(three, { nnodes: '2:3' }).end();

  t.equal(other.code, 1);
  t.match(other.stderr, /the job was started with --nnodes 2, and this node with --nnodes 2:3; /);
  const isWait = (line: string): boolean => line.startsWith('regroup: waiting for ');
  t.equal(
    other.stderr
      .trim()
      .split('\n')
      .filter(line => !isWait(line)).length,
    1,
  );
  succeed([one, two]);
  t.strictSame(await codes(agents), [0, 0]);
  t.notMatch(agents.map(agent => agent.output()).join(''), /round 0 is over/);
});

t.test('R-049 garbage on the port disturbs nobody', async t => {
  const cluster = await startCluster(t, 3);
  const [one, two, three] = cluster.nodes;
  const [host, port] = cluster.endpoint.split(':');
  const first = cluster.join(one, { nnodes: '2' });
  /** Once somebody listens there. */
  const throwAt = async (garbage: string): Promise<void> => {
    const target = `/dev/tcp/${host}/${port}`;
    const script = `until exec 3<>${target}; do sleep 0.1; done 2>/dev/null; { ${garbage}; } >&3; exit 0`;
    await three.run(['bash', '-c', script]).end();
  };

  await throwAt('printf "GET / HTTP/1.1\\r\\n\\r\\n"');
  await throwAt('head -c 100000 /dev/urandom');
  const agents = [first, cluster.join(two, { nnodes: '2' })];
  await allStarted(agents, 0);
  await throwAt('printf "\\026\\003\\001\\002\\000"');
  await throwAt('head -c 100000 /dev/zero');

  succeed([one, two]);
  t.strictSame(await codes(agents), [0, 0]);
  t.notMatch(agents.map(agent => agent.output()).join(''), /round 0 is over/);
});
