import { connect } from 'node:net';
import t, { type Test } from 'tap';
import { CoordinationError } from '../../lib/coordination/coordination.js';
import { connectServer } from '../../lib/coordination/server.js';
import { startOwnServer } from './own-server.js';

// Our own server with the job's token. What each side makes of the other's words is in greeting.test.ts and in
// test/native/coordination_token_test.cc.

const token = 'a token of the job';
/** Longer than anything here takes, on whatever machine. */
const patienceMs = 60_000;

async function connectTo(t: Test, port: number, own?: string) {
  const client = await connectServer({
    host: '127.0.0.1',
    port,
    timeoutMs: patienceMs,
    token: own,
  });
  t.teardown(() => client.close());
  return client;
}

t.test('who has the token is served, over broken connections too', async t => {
  const server = await startOwnServer(t, undefined, token);
  const client = await connectTo(t, server.port, token);
  const lease = await client.lease(3_600_000);
  await client.put('member', 'me', lease);

  server.cut();
  await lease.renew();

  t.match(await client.get(''), { entries: [{ key: 'member', lease: lease.id }] });
});

t.test('who has none, another one, or one where the server has none, is told at once', async t => {
  const closed = await startOwnServer(t, undefined, token);
  const open = await startOwnServer(t);
  for (const [server, own, why] of [
    [closed, undefined, "the server takes only nodes with the job's token, and this one has none"],
    [closed, 'another token of 16', "this node's token is not the server's"],
    [open, token, 'the server has no token, and this node has one'],
  ] as const) {
    const error = await connectTo(t, server.ownPort, own).catch((error: unknown) => error);

    t.ok(error instanceof CoordinationError);
    t.match(error, {
      code: 'DENIED',
      message: new RegExp(`^127.0.0.1:${server.ownPort}: ${why}; give all nodes the same`),
    });
  }
});

t.test(
  'a server in the place of another one that has another token ends what is asked',
  async t => {
    const server = await startOwnServer(t, undefined, token);
    const client = await connectTo(t, server.ownPort, token);
    const ended = new Promise<CoordinationError>(resolve => {
      client.watch('', 1, { changed() {}, ended: resolve });
    });

    await server.replace(undefined, 'another token of 16');

    t.match(await ended, { code: 'DENIED', message: /token is not the server's/ });
    await t.rejects(client.get(''), { code: 'DENIED' });
  },
);

t.test('who proves nothing is closed, and the others are served meanwhile', async t => {
  const server = await startOwnServer(t, undefined, token);
  const client = await connectTo(t, server.ownPort, token);
  // A preface, and a frame of which a server without a token would await 4 MiB.
  const stranger = connect({ host: '127.0.0.1', port: server.ownPort });
  const closed = new Promise(resolve => stranger.on('close', resolve).on('error', () => {}));
  stranger.write(Buffer.from('\xc7regroup\0\0\x40\0', 'latin1'));

  t.equal(await client.put('a', '1'), 1);
  await closed;
  t.equal(await client.put('a', '2'), 2);
});
