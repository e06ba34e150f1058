import t from 'tap';
import { allStarted, codes, noLinks, reach, startCluster, succeed } from './harness.js';

// Where nodes and their workers meet, as the options say.

t.test(
  'MN-52 a node is known by the interface that it is told',
  { skip: noLinks ?? false },
  async t => {
    const cluster = await startCluster(t, 2);
    const [one, two] = cluster.nodes;
    const options = ['--interface=eth0', '--rdzv-conf=is_host=0'];
    const { endpoint } = await cluster.serve();
    const agents = [one, two].map(node => cluster.join(node, { nnodes: '2', endpoint, options }));

    for (const { masterAddr } of await allStarted(agents, 0)) t.equal(masterAddr, one.address);

    succeed([one, two]);
    t.strictSame(await codes(agents), [0, 0]);
  },
);

t.test(
  'an interface that is not there ends the agent at once',
  { skip: noLinks ?? false },
  async t => {
    const cluster = await startCluster(t, 1);
    const [one] = cluster.nodes;

    const { code, stderr } = await cluster
      .join(one, { nnodes: '2', options: ['--interface=ib0'] })
      .end();

    t.equal(code, 1);
    t.match(
      stderr,
      /^regroup: error: --interface: no network interface "ib0" has an address here; give one of lo \(127.0.0.1[^)]*\), eth0 \(10.77.0.1[^)]*\)$/m,
    );
  },
);

t.test('MN-56 the store of each round is within the range of ports', async t => {
  const cluster = await startCluster(t, 2);
  const [one, two] = cluster.nodes;
  const first = 31_000 + 2 * (process.pid % 500);
  const options = [`--port-range=${first}-${first + 1}`, '--max-restarts=1'];
  const agents = [one, two].map(node => cluster.join(node, { nnodes: '2', options }));

  const workers = await allStarted(agents, 0);
  two.tell('exit 3');
  workers.push(...(await allStarted(agents, 1)));

  for (const { masterPort } of workers)
    t.ok(masterPort === first || masterPort === first + 1, `${masterPort}`);
  await reach([one, two], agents);

  succeed([one, two]);
  t.strictSame(await codes(agents), [0, 0]);
});
