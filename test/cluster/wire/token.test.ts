import t from 'tap';
import { allStarted, codes, noLinks, startCluster, succeed } from '../harness.js';

// Who has the job's token takes part, and nobody else.

const token = 's3cret'.repeat(4);

t.test(
  'nodes with one token meet; who has another, or none, is told and disturbs nobody',
  async t => {
    const cluster = await startCluster(t, 2);
    const [one, two] = cluster.nodes;
    const join = (node: typeof one, own: string | undefined) =>
      cluster.join(node, { nnodes: '2', env: { REGROUP_TOKEN: own } });
    const first = join(one, token);
    await first.line(/waiting for nodes: 1 of 2/);

    for (const [own, why] of [
      ['another token of 16', "this node's token is not the server's"],
      [undefined, "the server takes only nodes with the job's token, and this one has none"],
    ] as const) {
      const { code, stderr } = await join(two, own).end();
      t.equal(code, 1);
      t.ok(
        stderr.includes(`error: rendezvous: ${cluster.endpoint}: ${why}; give all nodes`),
        stderr,
      );
    }
    await first.line(/store: closed \S+: another token than the job's$/);

    // Nor is anybody there for a store's sake.
    const script =
      "const [, host, port] = process.argv; require('net').connect(port, host, function () { this.write('\\x01'); }).on('error', () => {}).on('close', () => console.log('closed'))";
    const stranger = two.run([process.execPath, '-e', script, ...cluster.endpoint.split(':')]);
    await stranger.line(/^closed$/);
    await stranger.end();

    const agents = [first, join(two, token)];
    await allStarted(agents, 0);
    // Its lease is renewed by another connection, and ended by its guardian's.
    agents[1] = await two.restart(agents[1] ?? first);
    await allStarted(agents, 1);
    succeed([one, two]);
    t.strictSame(await codes(agents), [0, 0]);
    t.notMatch(cluster.log(), /s3cret|whoever reaches/);
  },
);

t.test('a server without a token says who may take part, and refuses who has one', async t => {
  const cluster = await startCluster(t, 2);
  const [one, two] = cluster.nodes;
  const first = cluster.join(one, { nnodes: '2' });
  if (noLinks === undefined) {
    await first.line(
      /^regroup: whoever reaches port 29400 of .*10\.77\.0\.1.* can take part in the job, or end it; REGROUP_TOKEN or /,
    );
  }
  await first.line(/waiting for nodes: 1 of 2/);

  const { code, stderr } = await cluster
    .join(two, { nnodes: '2', env: { REGROUP_TOKEN: token } })
    .end();

  t.equal(code, 1);
  t.match(stderr, /: the server has no token, and this node has one; give all nodes the same/);
  const agents = [first, cluster.join(two, { nnodes: '2' })];
  await allStarted(agents, 0);
  succeed([one, two]);
  t.strictSame(await codes(agents), [0, 0]);
});
