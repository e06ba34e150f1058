import { resolve } from 'node:path';
import t from 'tap';
import { encodeFrame, preface } from '../../../lib/coordination/frames.js';
import { allStarted, codes, reach, startCluster, succeed } from '../harness.js';

// Who may reach the server and is no agent, and what isn't the server of a job.

const many = 5_000;

t.test('a peer with 5,000 connections and half frames does not disturb a job', async t => {
  const cluster = await startCluster(t, 3);
  const [one, two, three] = cluster.nodes;
  const meeting = { nnodes: '2', options: ['--max-restarts=1'] };
  const agents = [one, two].map(node => cluster.join(node, meeting));
  await allStarted(agents, 0);
  const [host = '', port = ''] = cluster.endpoint.split(':');
  const greeting = Buffer.concat([preface, encodeFrame(0, { ask: 'hello' })]).toString('hex');
  const script = resolve('test/fixtures/hostile_peer.py');

  const peer = three.run(['python3', script, host, port, `${many}`, greeting]);
  await peer.line(/^holds \d+$/);
  two.tell('exit 3');

  t.match(await allStarted(agents, 1), [{ restartCount: 1 }, { restartCount: 1 }]);
  await reach([one, two], agents);
  succeed([one, two]);
  t.strictSame(await codes(agents), [0, 0]);
  t.notMatch(agents.map(agent => agent.output()).join(''), /was lost|round 1 is over/);
});

t.test('MN-58 R-029 an endpoint that accepts and says nothing is named as such', async t => {
  const cluster = await startCluster(t, 1);
  const [one] = cluster.nodes;
  const { address } = cluster.hub;
  const script = `require('net').createServer(() => {}).listen(29999, '${address}', () => console.log('listens'))`;
  const server = cluster.hub.run([process.execPath, '-e', script]);
  await server.line(/^listens$/);
  const options = ['--rdzv-conf=join_timeout=1,is_host=0'];

  const agent = cluster.join(one, { nnodes: '2', endpoint: `${address}:29999`, options });

  const { code, stdout, stderr } = await agent.end();
  t.equal(code, 1);
  t.equal(stdout, '');
  t.match(stderr, /rendezvous: no node serves \S+:29999, tried for 1 s: .*it does not answer/);
});

t.test('R-050 a pickle at the port is refused, and never run', async t => {
  const cluster = await startCluster(t, 3);
  const [one, two, three] = cluster.nodes;
  const agents = [one, two].map(node => cluster.join(node, { nnodes: '2' }));
  await allStarted(agents, 0);
  const [host = '', port = ''] = cluster.endpoint.split(':');
  // Whoever loads it says so on its console.
  const script = `
import os, pickle, socket
class Runs:
    def __reduce__(self):
        return os.system, ("echo it ran >&2",)
with socket.create_connection(("${host}", ${port})) as connection:
    connection.sendall(pickle.dumps(Runs()))
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(4096): pass
`;

  t.match(await three.run(['python3', '-c', script]).end(), { code: 0 });

  succeed([one, two]);
  t.strictSame(await codes(agents), [0, 0]);
  t.notMatch(agents.map(agent => agent.output()).join(''), /it ran|round 0 is over/);
});
