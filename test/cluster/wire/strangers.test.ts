import { resolve } from 'node:path';
import t from 'tap';
import { version } from '../../../lib/coordination/frames.js';
import { allStarted, codes, noLinks, startCluster, succeed } from '../harness.js';

// What is wrong with where nodes meet, or with whom: one sentence on the node that can act on it.

t.test('MN-58 something else at the endpoint is named at once', async t => {
  for (const [what, bytes] of [
    ['HTTP', 'HTTP/1.1 400 Bad Request\\r\\n\\r\\n'],
    ['TLS', '\\x15\\x03\\x01\\x00\\x02\\x02\\x46'],
    ['a frame of type 120', '\\x08\\x00\\x00\\x00xxxxxxxx'],
  ] as const) {
    const cluster = await startCluster(t, 1);
    const [one] = cluster.nodes;
    const port = cluster.endpoint.split(':')[1];
    const script = `require('net').createServer(s => { s.on('error', () => {}); s.write(Buffer.from('${bytes}', 'latin1')); }).listen(${port}, '${cluster.hub.address}', () => console.log('ready'))`;
    const server = cluster.hub.run([process.execPath, '-e', script]);
    await server.line(/^ready$/);

    const agent = cluster.join(one, { nnodes: '2', endpoint: `${cluster.hub.address}:${port}` });

    const { code, stderr } = await agent.end();
    t.equal(code, 1);
    const words = `rendezvous: ${cluster.hub.address}:${port}: not a store of regroup: it answers with ${what}; is --rdzv-endpoint the address and port of the node that serves it?`;
    t.ok(stderr.includes(words), stderr);
    server.kill('SIGTERM');
    await server.end();
  }
});

t.test('a server of another version of regroup ends an agent at once', async t => {
  const cluster = await startCluster(t, 1);
  const { address } = cluster.hub;
  const [, port = ''] = cluster.endpoint.split(':');
  const welcomes = resolve('test/fixtures/welcomes.py');
  const server = cluster.hub.run(['python3', welcomes, address, port, `${version - 1}`]);
  await server.line(/^ready$/);

  const agent = cluster.join(cluster.nodes[0], { nnodes: '2', endpoint: `${address}:${port}` });

  const { code, stderr } = await agent.end();
  t.equal(code, 1);
  t.match(
    stderr,
    `regroup: error: rendezvous: ${address}:${port}: the server is of another version of regroup (protocol ${version - 1}, and ours is ${version}); give all nodes the same version\n`,
  );
});

t.test('an agent of another version of regroup is told ours, and disturbs nobody', async t => {
  const cluster = await startCluster(t, 2);
  const [one, two] = cluster.nodes;
  const first = cluster.join(one, { nnodes: '2' });
  await first.line(/waiting for nodes: 1 of 2/);

  // A hello as agents of the first version say it, which compare what they're told with their own.
  const script = `const [, host, port] = process.argv;
    const socket = require('net').connect(port, host, () => socket.write('\\xc7regroup\\x07\\0\\0\\0\\x01\\0\\0\\0\\0\\x01\\0', 'latin1'));
    socket.once('data', welcome => console.log('told', welcome.readUInt16LE(9)));
    socket.on('close', () => console.log('closed'));`;
  const older = two.run([process.execPath, '-e', script, ...cluster.endpoint.split(':')]);

  await older.line(new RegExp(`^told ${version}$`));
  await older.line(/^closed$/);
  await first.line(
    new RegExp(
      `store: closed \\S+: of another version of regroup \\(protocol 1, and ours is ${version}\\); give all nodes the same version$`,
    ),
  );
  await older.end();
  const agents = [first, cluster.join(two, { nnodes: '2' })];
  await allStarted(agents, 0);
  succeed([one, two]);
  t.strictSame(await codes(agents), [0, 0]);
});

t.test('MN-58 an endpoint that cannot be reached is named at the time-out', async t => {
  const cluster = await startCluster(t, 1);
  const options = ['--rdzv-conf=join_timeout=3,is_host=0'];
  for (const [endpoint, why] of [
    [`${cluster.hub.address}:9`, 'ECONNREFUSED'],
    // Of a family that the node has no address of, or none that leads there.
    ['[fd77::1]:29400', '(ENETUNREACH|EADDRNOTAVAIL|EAFNOSUPPORT|EHOSTUNREACH|it does not answer)'],
  ] as const) {
    const agent = cluster.join(cluster.nodes[0], { nnodes: '2', endpoint, options });

    const { code, stderr } = await agent.end();
    t.equal(code, 1);
    t.match(
      stderr,
      new RegExp(`rendezvous: no node serves \\S+, tried for 3 s: .*${why}.*is_host`),
    );
  }
});

t.test('MN-39 R-056 a second agent of one rank is refused on the same node, too', async t => {
  const cluster = await startCluster(t, 2);
  const [one, two] = cluster.nodes;
  const ranked = (nodeRank: number) => ({
    nnodes: '2',
    options: ['--rdzv-backend=static', '--lease=2s', `--node-rank=${nodeRank}`],
  });
  const host = cluster.join(one, ranked(0));
  const second = cluster.join(two, ranked(1));
  await allStarted([host, second], 0);

  const { code, stderr } = await cluster.join(two, ranked(1)).end();

  t.equal(code, 1);
  t.match(stderr, /rendezvous: node rank 1 is already that of another agent on this node, which/);
  succeed([one, two]);
  t.strictSame(await codes([host, second]), [0, 0], 'nobody else is disturbed');
});

t.test('MN-39 a node rank that is given twice is refused', { skip: noLinks ?? false }, async t => {
  const cluster = await startCluster(t, 3);
  const [one, two, three] = cluster.nodes;
  const ranked = (nodeRank: number) => ({
    nnodes: '3',
    options: ['--rdzv-backend=static', `--node-rank=${nodeRank}`],
  });
  const first = cluster.join(one, ranked(0));
  await first.line(/waiting for nodes: 1 of 3/);

  const { code, stderr } = await cluster.join(two, ranked(0)).end();

  t.equal(code, 1);
  t.match(
    stderr,
    /^regroup: error: rendezvous: node rank 0 is node1 \(10.77.0.1\)'s already; give each node another --node-rank$/m,
  );
  const agents = [first, cluster.join(two, ranked(2)), cluster.join(three, ranked(1))];
  t.match(await allStarted(agents, 0), [{ rank: 0 }, { rank: 2 }, { rank: 1 }]);
  succeed(cluster.nodes);
  t.strictSame(await codes(agents), [0, 0, 0]);
});
